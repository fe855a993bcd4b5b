"""Tasks: data together with how to build the teacher and the student for them."""
