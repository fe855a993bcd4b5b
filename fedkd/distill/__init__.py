"""What happens inside a client: the losses and the trainer."""
