"""Training of the models of the drawn people: detector, embedder, liveness and eyes.

`make train` runs it all in an environment of its own (`.venv-train`, which has PyTorch). Each model is a recipe: how it
is trained, how it is judged on people it never saw, what its entry in the manifest of drawn models says. Nothing here
is imported by what ships a payment; the weights in `loadtests/people/models` are all that demos and tests need.
"""
