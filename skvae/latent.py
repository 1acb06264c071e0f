"""Operations in latent space: interpolation and attribute directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import check_X_y

_NEARLY_PARALLEL = 1e-7


def interpolate(
    start: ArrayLike, end: ArrayLike, n_steps: int = 10, *, method: str = "linear"
) -> np.ndarray:
    """Interpolate between two codes, both ends included.

    Parameters
    ----------
    start, end : array-like of shape (n_components,)
        Codes, such as two rows of the output of `transform`.
    n_steps : int, default=10
        Number of codes, at least 2.
    method : {"linear", "spherical"}, default="linear"
        "linear" is ``(1 - t) a + t b``. "spherical" is ``[sin((1 - t) w) a + sin(t w) b] / sin w``
        with w the angle between a and b (Shoemake 1985): between codes of equal norm it preserves
        the norm. In many dimensions it therefore stays in the region of codes from N(0, I), while
        the straight line passes nearer to the origin. Opposite codes have no unique arc and raise
        an error.

    Returns
    -------
    codes : ndarray of shape (n_steps, n_components)
        The interpolated codes.

    See Also
    --------
    attribute_directions : Directions in latent space from labels.

    References
    ----------
    K. Shoemake: Animating rotation with quaternion curves. SIGGRAPH 1985.
    T. White: Sampling generative networks. 2016, arXiv:1609.04468.

    Examples
    --------
    >>> from skvae import interpolate
    >>> interpolate([1.0, 0.0], [0.0, 1.0], 3, method="spherical").round(3)
    array([[1.   , 0.   ],
           [0.707, 0.707],
           [0.   , 1.   ]])
    """
    a: np.ndarray
    b: np.ndarray
    a, b = (
        check_array(z, ensure_2d=False, dtype=[np.float64, np.float32], input_name=name)
        for z, name in ((start, "start"), (end, "end"))
    )
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"start and end must be two codes of the same length, got shapes {a.shape} and "
            f"{b.shape}."
        )
    if isinstance(n_steps, bool) or not isinstance(n_steps, int | np.integer) or n_steps < 2:
        raise ValueError(f"n_steps must be an integer of at least 2, got {n_steps!r}.")
    if method not in ("linear", "spherical"):
        raise ValueError(f"method must be 'linear' or 'spherical', got {method!r}.")
    t = np.linspace(0.0, 1.0, int(n_steps), dtype=np.result_type(a, b))[:, None]
    codes: np.ndarray
    if method == "linear":
        codes = (1.0 - t) * a + t * b
        return codes
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    if lengths == 0.0:
        raise ValueError(
            "method='spherical' is not defined for a code at the origin; use method='linear'."
        )
    angle = np.arccos(np.clip(a @ b / lengths, -1.0, 1.0))
    if np.pi - angle < np.sqrt(_NEARLY_PARALLEL):
        raise ValueError(
            "method='spherical' is not defined for opposite codes; use method='linear'."
        )
    if angle < _NEARLY_PARALLEL:
        codes = (1.0 - t) * a + t * b
    else:
        codes = (np.sin((1.0 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return codes


def attribute_directions(Z: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Compute directions in latent space along which labels change.

    The direction of a class is the mean of its codes minus the mean of all other codes (Larsen et
    al. 2016). Add a multiple of it to a code and decode the result to get a row that is more
    typical of the class.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        Codes.
    y : array-like of shape (n_samples,)
        Labels of at least two classes.

    Returns
    -------
    directions : ndarray of shape (n_classes, n_components)
        Directions of the classes, in the order of ``np.unique(y)``; two classes have opposite
        directions.

    See Also
    --------
    interpolate : Interpolation between two codes.
    ConditionalVAE : Model that generates rows of a given label.

    References
    ----------
    A. B. L. Larsen, S. K. Soenderby, H. Larochelle, O. Winther: Autoencoding beyond pixels using a
    learned similarity metric. ICML 2016, arXiv:1512.09300.

    Examples
    --------
    >>> from skvae import attribute_directions
    >>> attribute_directions([[0.0, 1.0], [0.0, 3.0], [4.0, 2.0]], ["a", "a", "b"])
    array([[-4.,  0.],
           [ 4.,  0.]])
    """
    codes: np.ndarray
    codes, y = check_X_y(Z, y, dtype=[np.float64, np.float32])
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("y contains only one class, but at least two are needed.")
    members = np.eye(len(classes), dtype=codes.dtype)[index].T  # (n_classes, n)
    counts = members.sum(axis=1, keepdims=True)
    sums = members @ codes
    found: np.ndarray = sums / counts - (codes.sum(axis=0) - sums) / (len(codes) - counts)
    return found
