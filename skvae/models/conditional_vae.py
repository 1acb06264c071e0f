"""The conditional variational autoencoder."""

from __future__ import annotations

from ..neural import BaseConditional


class ConditionalVAE(BaseConditional):
    """Conditional variational autoencoder (Sohn et al. 2015): rows given labels, and a classifier.

    Minimises the mean over rows of ``-E_q[log p(x | z, y)] + beta KL(q(z | x, y) || p(z))``, the
    negative evidence lower bound of log p(x | y); y enters both networks one-hot.

    - ``sample(n, y=...)`` draws rows of a label.
    - `predict` and `predict_proba` are Bayes' rule, ``p(y | x) = p(y) p(x | y) / p(x)``;
      `score` is the accuracy.
    - `score_samples` is ``log p(x) = log sum_y p(y) p(x | y)``.
    - `transform`, `posterior` and `reconstruct` take the label that a row most likely has;
      `inverse_transform` knows no row and averages the decoder's means over p(y).

    Parameters
    ----------
    <shared parameters>

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    class_count_ : ndarray of shape (n_classes,)
        Rows of each label in training.
    history_ : dict of str to list
        Mean of "reconstruction" and "kl" by epoch; `loss_curve_` is their sum.
    module_ : torch.nn.Module
        The model, on standardised rows with one-hot labels in columns after the features.

    See Also
    --------
    VAE : The same without labels.
    attribute_directions : Labels as directions in the codes of any model.

    References
    ----------
    K. Sohn, H. Lee, X. Yan: Learning structured output representation using deep conditional
    generative models. NeurIPS 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import ConditionalVAE
    >>> X, y = load_wine(return_X_y=True)
    >>> model = ConditionalVAE(n_components=2, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    >>> model.sample(5, y=2, random_state=0).shape
    (5, 13)
    """
