//! The services of a gateway, and how secure each of them may be (R4).

/// Something that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The administration, over HTTP.
    Admin,
    /// The two doors of apps.
    Cti,
    /// Enrolment of apps.
    Enrolment,
    /// The metrics page and health, over HTTP.
    Metrics,
    /// Lists and profiles over HTTP.
    Provisioning,
    /// A PBX's copy of its signalling, over UDP.
    SwitchFeed,
    /// Lists and profiles over TFTP.
    Tftp,
}

/// How secure a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityLevel {
    /// It doesn't listen.
    Disabled,
    /// In the clear only.
    Unsecure,
    /// In the clear, and by TLS.
    UnsecureAndSecure,
    /// By TLS only, with any suite that is offered here.
    SecureLow,
    /// By TLS only, with AES-128-GCM at least.
    SecureMedium,
    /// By TLS only, with AES-256-GCM or ChaCha20-Poly1305, and a client certificate.
    SecureHigh,
}

/// What TLS demands. A later one demands more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Any suite that is offered here.
    Low,
    /// AES-128-GCM at least. That is true of all suites that are offered here, so it is the same as `Low`.
    Medium,
    /// AES-256-GCM or ChaCha20-Poly1305, and a client certificate.
    High,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 7] =
        [Self::Admin, Self::Cti, Self::Enrolment, Self::Metrics, Self::Provisioning, Self::SwitchFeed, Self::Tftp];

    /// Its name in logs, errors and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Cti => "CTI",
            Self::Enrolment => "enrolment",
            Self::Metrics => "metrics",
            Self::Provisioning => "provisioning",
            Self::SwitchFeed => "switch feed",
            Self::Tftp => "TFTP",
        }
    }

    /// The levels that it may have (R4): the one table of them.
    pub fn levels(self) -> &'static [SecurityLevel] {
        use SecurityLevel::{Disabled, SecureHigh, SecureLow, SecureMedium, Unsecure};
        match self {
            Self::Cti | Self::Metrics | Self::Provisioning => &SecurityLevel::ALL,
            Self::Admin => &[Disabled, SecureLow, SecureMedium, SecureHigh],
            // Who enrols has no certificate yet.
            Self::Enrolment => &[Disabled, SecureLow, SecureMedium],
            // There is no TLS over UDP here.
            Self::SwitchFeed | Self::Tftp => &[Disabled, Unsecure],
        }
    }
}

impl SecurityLevel {
    /// Every level, from the least to the most secure one that is open.
    pub const ALL: [Self; 6] = [
        Self::Disabled,
        Self::Unsecure,
        Self::UnsecureAndSecure,
        Self::SecureLow,
        Self::SecureMedium,
        Self::SecureHigh,
    ];

    /// The level of a service that listens like this, in the clear and by TLS that demands so much.
    pub fn of(is_clear: bool, tls: Option<Strength>) -> Self {
        match (is_clear, tls) {
            (false, None) => Self::Disabled,
            (true, None) => Self::Unsecure,
            (true, Some(_)) => Self::UnsecureAndSecure,
            (false, Some(Strength::Low)) => Self::SecureLow,
            (false, Some(Strength::Medium)) => Self::SecureMedium,
            (false, Some(Strength::High)) => Self::SecureHigh,
        }
    }

    /// The word for it in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Unsecure => "unsecure",
            Self::UnsecureAndSecure => "unsecure+secure",
            Self::SecureLow => "secure-low",
            Self::SecureMedium => "secure-medium",
            Self::SecureHigh => "secure-high",
        }
    }

    /// Whether the service listens in the clear.
    pub fn is_clear(self) -> bool {
        matches!(self, Self::Unsecure | Self::UnsecureAndSecure)
    }

    /// What its TLS demands; `None` if it doesn't listen for TLS.
    pub fn strength(self) -> Option<Strength> {
        match self {
            Self::Disabled | Self::Unsecure => None,
            Self::UnsecureAndSecure | Self::SecureLow => Some(Strength::Low),
            Self::SecureMedium => Some(Strength::Medium),
            Self::SecureHigh => Some(Strength::High),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_each_service_has_its_levels_and_no_other() {
        let names = |service: Service| service.levels().iter().map(|level| level.name()).collect::<Vec<_>>().join(" ");
        let all = "disabled unsecure unsecure+secure secure-low secure-medium secure-high";
        for (service, levels) in [
            (Service::Admin, "disabled secure-low secure-medium secure-high"),
            (Service::Cti, all),
            (Service::Enrolment, "disabled secure-low secure-medium"),
            (Service::Metrics, all),
            (Service::Provisioning, all),
            (Service::SwitchFeed, "disabled unsecure"),
            (Service::Tftp, "disabled unsecure"),
        ] {
            assert_eq!(names(service), levels, "{}", service.name());
        }
    }

    #[test]
    fn r4_unsecure_has_no_tls_and_secure_nothing_in_the_clear() {
        let open = |level: SecurityLevel| (level.is_clear(), level.strength());
        assert_eq!(
            SecurityLevel::ALL.map(open),
            [
                (false, None),
                (true, None),
                (true, Some(Strength::Low)),
                (false, Some(Strength::Low)),
                (false, Some(Strength::Medium)),
                (false, Some(Strength::High)),
            ]
        );
        for level in SecurityLevel::ALL {
            assert_eq!(SecurityLevel::of(level.is_clear(), level.strength()), level);
        }
    }
}
