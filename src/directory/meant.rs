//! Which of the known devices names and patterns mean (R13).

use std::collections::BTreeSet;

use super::DevicePattern;
use crate::model::DeviceName;

/// The names of all known devices, in their order, and which of them are meant.
///
/// A pattern looks only at names that begin as it does before its first `*` or `?`, and at none that is meant already: so many
/// patterns cost little where they mean few devices, and where they mean all.
pub(super) struct Meant<'a> {
    names: &'a [DeviceName],
    marks: Vec<bool>,
}

impl<'a> Meant<'a> {
    /// None of these, which are in their order.
    pub(super) fn none_of(names: &'a [DeviceName]) -> Self {
        Self { names, marks: vec![false; names.len()] }
    }

    /// These, too, if they are known.
    pub(super) fn add_names(&mut self, names: &BTreeSet<DeviceName>) {
        for place in names.iter().filter_map(|name| self.names.binary_search(name).ok()) {
            self.add_place(place);
        }
    }

    /// Those that match, too.
    pub(super) fn add_patterns(&mut self, patterns: &BTreeSet<DevicePattern>) {
        for pattern in patterns {
            let beginning = pattern.beginning();
            let first = self.names.partition_point(|name| name.as_str() < beginning);
            let names = self.names.iter().skip(first).take_while(|name| name.as_str().starts_with(beginning));
            for (name, mark) in names.zip(self.marks.iter_mut().skip(first)) {
                *mark = *mark || pattern.matches(name);
            }
        }
    }

    /// Those at these places, too, which are of the same names.
    pub(super) fn add_places(&mut self, places: &[usize]) {
        places.iter().for_each(|place| self.add_place(*place));
    }

    /// Where those are that are meant.
    pub(super) fn places(&self) -> Vec<usize> {
        self.marks.iter().enumerate().filter(|(_, mark)| **mark).map(|(place, _)| place).collect()
    }

    /// The names of those that are meant.
    pub(super) fn names(&self) -> BTreeSet<DeviceName> {
        self.names.iter().zip(&self.marks).filter(|(_, mark)| **mark).map(|(name, _)| name.clone()).collect()
    }

    fn add_place(&mut self, place: usize) {
        if let Some(mark) = self.marks.get_mut(place) {
            *mark = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_what_patterns_mean_is_what_each_name_says_alone() {
        let texts = ["1", "10", "100", "1001", "1002", "101", "2", "SEP", "SEP1", "SEP1a", "SEP2", "T", "ä", "äb"];
        let names: Vec<DeviceName> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let texts =
            ["*", "10*", "10?*", "1001", "1?01", "?", "SEP*", "SEP1*", "*1", "*P*1*", "ä*", "z*", "SEP1ab*", "?E*"];
        let patterns: Vec<DevicePattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
        for one in &patterns {
            for other in &patterns {
                let both = BTreeSet::from([one.clone(), other.clone()]);
                let mut meant = Meant::none_of(&names);
                meant.add_patterns(&both);
                let alone: BTreeSet<DeviceName> =
                    names.iter().filter(|name| both.iter().any(|pattern| pattern.matches(name))).cloned().collect();
                assert_eq!(meant.names(), alone, "{both:?}");
                let mut again = Meant::none_of(&names);
                again.add_places(&meant.places());
                assert_eq!(again.names(), alone);
            }
        }
        let mut meant = Meant::none_of(&names);
        meant.add_names(&BTreeSet::from(["SEP".parse().unwrap(), "unknown".parse().unwrap()]));
        assert_eq!(meant.names(), BTreeSet::from(["SEP".parse().unwrap()]));
    }
}
