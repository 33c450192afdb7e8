//! So many of something, in words.

use std::fmt::Display;

/// "1 device", "2 devices", by what one is called and what several are.
pub fn counted<N: Display + PartialEq + From<u8> + Copy>(number: N, one: &str, several: &str) -> String {
    let what = if number == N::from(1) { one } else { several };
    format!("{number} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_called_so() {
        let said = [0_u64, 1, 2].map(|number| counted(number, "entry", "entries"));
        assert_eq!(said, ["0 entries", "1 entry", "2 entries"]);
    }
}
