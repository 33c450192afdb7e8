//! Users, groups, devices, and who is associated with what.
