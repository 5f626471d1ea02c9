//! hermetic
