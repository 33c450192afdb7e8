//! Long lists, a page at a time.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;

/// The most items of a page.
pub(super) const MAX_LIMIT: usize = 500;
const DEFAULT_LIMIT: usize = 100;

/// A page of a list
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last one
    #[schema(example = "dXNlcnMAcmVjb3JkZXI")]
    pub next: Option<String>,
}

/// The query of a list: its filters, and which page. A parameter that isn't there by name is refused.
macro_rules! list_query {
    ($(#[$doc:meta])* $name:ident of $list:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, serde::Deserialize, utoipa::IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: Option<$type>,)*
            /// How many items at the most
            #[param(minimum = 1, maximum = 500, default = 100, example = 100)]
            limit: Option<u16>,
            /// What the page before had as `next`
            #[param(max_length = 2048)]
            cursor: Option<String>,
        }

        impl $name {
            /// The page that is meant.
            fn window(&self) -> Result<$crate::admin::api::page::Window, $crate::admin::api::problem::Problem> {
                $crate::admin::api::page::Window::new($list, self.limit, self.cursor.as_deref())
            }
        }
    };
}
pub(super) use list_query;

/// Where a page begins and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    list: &'static str,
    /// The key of the last item of the page before.
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

impl Window {
    /// The page that is meant of this list.
    ///
    /// # Errors
    /// The limit is out of range, or the cursor is none of this list.
    pub(super) fn new(list: &'static str, limit: Option<u16>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.map_or(DEFAULT_LIMIT, usize::from);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::bad_request(format!("limit: from 1 to {MAX_LIMIT} are allowed")));
        }
        let after = cursor.map(|cursor| read(cursor, list)).transpose()?;
        Ok(Self { list, after, limit })
    }

    /// The page of items that are in the order of their keys. `shown` is asked only for those that are on it.
    pub(super) fn page<K: AsRef<str>, T, S>(
        &self,
        items: impl Iterator<Item = (K, T)>,
        shown: impl Fn(&K, T) -> S,
    ) -> Page<S> {
        let behind = |key: &str| self.after.as_deref().is_none_or(|after| key > after);
        let mut items = items.filter(|(key, _)| behind(key.as_ref()));
        let mut page = Vec::new();
        let mut last = None;
        for (key, item) in items.by_ref().take(self.limit) {
            page.push(shown(&key, item));
            last = Some(key);
        }
        let next = last.filter(|_| items.next().is_some()).map(|key| self.cursor(key.as_ref()));
        Page { items: page, next }
    }

    /// The cursor of the page behind this key.
    pub(super) fn cursor(&self, key: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}\0{key}", self.list))
    }
}

fn read(cursor: &str, list: &str) -> Result<String, Problem> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let key = decoded.as_deref().and_then(|text| text.strip_prefix(list)?.strip_prefix('\0'));
    key.map(Into::into).ok_or_else(|| Problem::of(ErrorCode::PageTokenInvalid, "cursor: it is none of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: u16, cursor: Option<&str>) -> Window {
        Window::new("users", Some(limit), cursor).unwrap()
    }

    #[test]
    fn pages_follow_each_other_and_the_last_one_says_so() {
        let names: Vec<String> = (0..7).map(|n| format!("u{n}")).collect();
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page =
                window(3, cursor.as_deref()).page(names.iter().map(|name| (name, ())), |name, ()| (*name).clone());
            seen.push(page.items.len());
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        assert_eq!(seen, [3, 3, 1]);
        let all = window(7, None).page(names.iter().map(|name| (name, ())), |_, ()| ());
        assert_eq!((all.items.len(), all.next), (7, None), "nothing is behind it");
    }

    #[test]
    fn r41a_limits_and_cursors_of_others_are_refused() {
        let asked = |limit, cursor| Window::new("users", limit, cursor);
        assert!(asked(Some(0), None).is_err() && asked(Some(501), None).is_err() && asked(Some(500), None).is_ok());
        let of_groups = Window { list: "groups", after: None, limit: 1 }.cursor("a");
        assert!(asked(None, Some(&of_groups)).is_err() && asked(None, Some("%")).is_err());
        let own = window(1, None).cursor("a\0b");
        assert_eq!(asked(None, Some(&own)).unwrap().after.as_deref(), Some("a\0b"));
    }
}
