//! Which cases: nextest's filterset grammar, with `backend()` and `mark()`.
