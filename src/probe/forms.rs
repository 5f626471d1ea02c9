//! Which form of a probe works with a member: learned, never assumed.
