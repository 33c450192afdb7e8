//! Finds lost events by their class numbers (R40).

use std::collections::HashMap;

use super::event::{Event, EventClass, EventHead, Gap};

/// The last class number of each device, line and class, as long as it is monitored without a break.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    last: HashMap<String, HashMap<(u32, EventClass), u64>>,
}

impl Continuity {
    /// Takes an event's numbers in. Says what is missing before it.
    pub(super) fn check(&mut self, head: &EventHead) -> Option<Event> {
        let lines = match self.last.get_mut(&head.device) {
            Some(lines) => lines,
            None => self.last.entry(head.device.clone()).or_default(),
        };
        let last = lines.insert((head.line, head.class), head.class_number)?;
        let missed = head.class_number.checked_sub(last)?.checked_sub(1)?;
        (missed > 0)
            .then(|| Event::Gap(Gap { device: head.device.clone(), line: head.line, class: head.class, missed }))
    }

    /// These lines of the device, or all of it, can't be seen any more: a later event of them begins anew.
    pub(super) fn forget(&mut self, device: &str, lines: &[u32]) {
        if lines.is_empty() {
            self.last.remove(device);
        } else if let Some(last) = self.last.get_mut(device) {
            last.retain(|(line, _), _| !lines.contains(line));
        }
    }

    /// Only these classes of the device are monitored from now on: a later event of another one begins anew.
    pub(super) fn keep(&mut self, device: &str, classes: &[EventClass]) {
        if let Some(lines) = self.last.get_mut(device) {
            lines.retain(|(_, class), _| classes.contains(class));
            if lines.is_empty() {
                self.last.remove(device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::event::CallRef;

    fn head(line: u32, class: EventClass, class_number: u64) -> EventHead {
        EventHead {
            device: "phone".into(),
            line,
            class,
            number: 0,
            class_number,
            at: SystemTime::UNIX_EPOCH,
            call: CallRef::default(),
        }
    }

    #[test]
    fn r40_a_hole_within_device_line_and_class_is_a_gap() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.check(&head(1, EventClass::Call, 17)), None, "the first one begins");
        assert_eq!(continuity.check(&head(1, EventClass::Media, 3)), None);
        assert_eq!(continuity.check(&head(2, EventClass::Call, 99)), None);
        assert_eq!(continuity.check(&head(1, EventClass::Call, 18)), None);
        let Some(Event::Gap(gap)) = continuity.check(&head(1, EventClass::Call, 21)) else { panic!("no gap") };
        assert_eq!((gap.line, gap.class, gap.missed), (1, EventClass::Call, 2));
        assert_eq!(continuity.check(&head(1, EventClass::Call, 22)), None);
        assert_eq!(continuity.check(&head(1, EventClass::Call, 5)), None, "numbers that fall begin anew");
        assert_eq!(continuity.check(&head(1, EventClass::Call, 6)), None);
    }

    #[test]
    fn r15_what_was_out_of_service_begins_anew() {
        let mut continuity = Continuity::default();
        for line in [1, 2] {
            continuity.check(&head(line, EventClass::Call, 1));
        }
        continuity.forget("phone", &[2]);
        assert_eq!(continuity.check(&head(2, EventClass::Call, 50)), None);
        assert!(continuity.check(&head(1, EventClass::Call, 50)).is_some(), "the other line goes on");
        continuity.forget("phone", &[]);
        assert!(continuity.last.is_empty());
    }

    #[test]
    fn r40_what_is_no_longer_monitored_begins_anew() {
        let mut continuity = Continuity::default();
        continuity.check(&head(1, EventClass::Call, 1));
        continuity.check(&head(1, EventClass::Media, 1));
        continuity.keep("phone", &[EventClass::Media]);
        assert_eq!(continuity.check(&head(1, EventClass::Call, 50)), None);
        assert!(continuity.check(&head(1, EventClass::Media, 50)).is_some());
        continuity.keep("phone", &[]);
        assert!(continuity.last.is_empty());
    }
}
