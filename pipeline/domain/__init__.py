"""The rules of paying by face: pure functions over frozen values. Time and ids come in as arguments."""
