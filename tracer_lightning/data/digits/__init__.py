"""Scikit-learn's digits and MNIST, plain and coloured."""
