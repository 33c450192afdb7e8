//! CA, ledger, TLS settings.
