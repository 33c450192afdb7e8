//! Where the next session opens: at the gateway that was named, or where one that is about to stop has sent its sessions (R42).

/// The places where a session can open, and the one whose turn it is.
#[derive(Debug)]
pub(super) struct Route {
    home: String,
    /// Never empty.
    places: Vec<String>,
    at: usize,
}

impl Route {
    pub(super) fn new(home: &str) -> Self {
        Self { home: home.to_owned(), places: vec![home.to_owned()], at: 0 }
    }

    /// Where a session is, or opens next, as "host:port".
    pub(super) fn here(&self) -> &str {
        self.places.get(self.at).unwrap_or(&self.home)
    }

    pub(super) fn is_home(&self) -> bool {
        self.here() == self.home
    }

    /// The gateway here is about to stop, and names others, best first. Home is the last to be tried, since it may be back by then.
    pub(super) fn sent_to(&mut self, gateways: &[String]) {
        let here = self.here().to_owned();
        let mut places: Vec<String> = gateways.iter().filter(|place| **place != here).cloned().collect();
        if !places.contains(&self.home) {
            places.push(self.home.clone());
        }
        (self.places, self.at) = (places, 0);
    }

    /// No session opens here: the next one in turn.
    pub(super) fn further(&mut self) {
        self.at = (self.at + 1) % self.places.len().max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(gateways: &[&str]) -> Route {
        let mut route = Route::new("a:1");
        route.sent_to(&gateways.iter().map(ToString::to_string).collect::<Vec<_>>());
        route
    }

    fn turn(route: &mut Route) -> Vec<String> {
        let mut places = Vec::new();
        for _ in 0..4 {
            places.push(route.here().to_owned());
            route.further();
        }
        places
    }

    #[test]
    fn without_a_word_of_others_it_is_tried_at_home() {
        let mut route = Route::new("a:1");
        assert_eq!(turn(&mut route), ["a:1"; 4]);
        assert!(route.is_home());
    }

    #[test]
    fn the_best_is_tried_first_and_home_last() {
        let mut route = sent(&["b:1", "[2001:db8::1]:2"]);
        assert_eq!((route.here(), route.is_home()), ("b:1", false));
        assert_eq!(turn(&mut route), ["b:1", "[2001:db8::1]:2", "a:1", "b:1"]);
    }

    #[test]
    fn nobody_is_sent_to_the_gateway_that_stops_but_as_the_last_resort() {
        assert_eq!(turn(&mut sent(&["a:1", "b:1"])), ["b:1", "a:1", "b:1", "a:1"]);
        assert_eq!(turn(&mut sent(&["a:1"])), ["a:1"; 4]);
        assert_eq!(turn(&mut sent(&[])), ["a:1"; 4]);
    }

    #[test]
    fn who_is_sent_on_from_elsewhere_still_knows_home() {
        let mut route = sent(&["b:1"]);
        route.sent_to(&["c:1".into()]);
        assert_eq!(turn(&mut route), ["c:1", "a:1", "c:1", "a:1"]);
    }
}
