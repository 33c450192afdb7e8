//! The one name in a certificate that is ours: `callgate:USER/INSTANCE`, a URI among its alternative names (R31).

use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::model::{InstanceId, UserName};

const SCHEME: &str = "callgate:";

/// The URI of this user and instance, percent-encoded (RFC 3986 section 2.1).
pub(super) fn uri(user: &UserName, instance: &InstanceId) -> String {
    let mut uri = String::from(SCHEME);
    for byte in user.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push('/');
    uri.push_str(instance.as_str());
    uri
}

/// Whether every name of our form in the certificate is this user's and instance's (R11). Other names are ignored.
pub(super) fn agrees(certificate: &X509Certificate<'_>, user: &UserName, instance: &InstanceId) -> bool {
    let Ok(names) = certificate.subject_alternative_name() else {
        return false;
    };
    names.iter().flat_map(|extension| &extension.value.general_names).all(|name| match name {
        GeneralName::URI(uri) => parse(uri).is_none_or(|ours| ours == Some((user.clone(), instance.clone()))),
        _ => true,
    })
}

/// `None` if the URI isn't of our form at all, `Some(None)` if it is and has no user and instance in it.
#[expect(clippy::option_option, reason = "the two ways to be no name have opposite consequences")]
fn parse(uri: &str) -> Option<Option<(UserName, InstanceId)>> {
    let (scheme, name) = uri.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    Some(
        name.split_once('/')
            .and_then(|(user, instance)| Some((percent_decoded(user)?.parse().ok()?, instance.parse().ok()?))),
    )
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r31_the_uri_holds_any_user_name() {
        for (user, expected) in
            [("recorder", "callgate:recorder/1"), ("müller 100%", "callgate:m%C3%BCller%20100%25/1")]
        {
            let (user, instance) = (user.parse().unwrap(), "1".parse().unwrap());
            let uri = uri(&user, &instance);
            assert_eq!(uri, expected);
            assert_eq!(parse(&uri), Some(Some((user, instance))));
        }
    }

    #[test]
    fn r11_other_names_are_no_names_of_ours_and_damaged_ones_are_nobody_s() {
        assert_eq!(parse("https://example.org/"), None);
        assert_eq!(parse("call"), None);
        for damaged in
            ["callgate:", "callgate:a", "callgate:a/b-c", "callgate:a%2/1", "callgate:%FF/1", "CallGate:a%2Fb/1"]
        {
            assert_eq!(parse(damaged), Some(None), "{damaged}");
        }
    }
}
