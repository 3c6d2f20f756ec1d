//! Parses query parameters: members and their values, times, order, limit and cursor.

use cache::{Criterion, LIMIT, MAX_LIMIT, Query};
use order::{Key, SearchPath};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The parameters of `/orders` that are not members.
pub(crate) const PARAMETERS: [&str; 6] = ["from", "to", "order", "limit", "after", "full"];

/// Optional prefix of a member's name; required if a parameter has the same name.
pub(crate) const MEMBER: &str = "$.";

/// Why nothing can be searched by its members.
pub(crate) const NO_MEMBERS: &str =
    "the service's setting SEARCH names the members to search by, such as SEARCH=name,delivery.city";

/// Maximum number of values in one query, because each is compared with many orders.
const MAX_CRITERIA: usize = 32;

/// Characters that need no escape in any part of a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The searchable members: their names as in `SEARCH`, and their paths.
#[derive(Clone, Copy)]
pub(crate) struct Members<'s> {
    pub(crate) names: &'s [String],
    pub(crate) paths: &'s [SearchPath],
}

/// The raw parameters of a request.
pub(crate) type Pairs = Vec<(String, String)>;

/// What is asked of `/orders`.
#[derive(Debug)]
pub(crate) struct OrdersQuery {
    pub(crate) query: Query,
    /// Whether to return documents instead of ids.
    pub(crate) full: bool,
}

/// What is asked of `/orders`.
///
/// # Errors
/// What is wrong, with what would be right.
pub(crate) fn orders(pairs: &Pairs, members: Members<'_>) -> Result<OrdersQuery, String> {
    let mut given = Parameters::default();
    let criteria = criteria(pairs, members, &PARAMETERS, |name, value| given.take(name, value))?;
    let mut query = Query {
        criteria,
        low: given.from.map(Key::first_of_time).unwrap_or_default(),
        high: given.to.map(Key::first_of_time),
        timed: given.from.is_some() || given.to.is_some(),
        ascending: given.ascending.unwrap_or_default(),
        limit: given.limit.unwrap_or(LIMIT),
    };
    if let Some(after) = &given.after {
        query.go_on_after(after);
    }
    Ok(OrdersQuery { query, full: given.full.unwrap_or_default() })
}

/// The members and values that an order must have. `take` receives the parameters that are not members.
///
/// # Errors
/// What is wrong, with what would be right.
pub(crate) fn criteria(
    pairs: &Pairs,
    members: Members<'_>,
    parameters: &[&str],
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<Vec<Criterion>, String> {
    let mut criteria = Vec::new();
    for (name, value) in pairs {
        if parameters.contains(&name.as_str()) {
            take(name, value)?;
            continue;
        }
        let Some(index) = index_of(name, members.names) else {
            return Err(format!(
                "there is no parameter {name:?}; there are {}",
                all(members.names, parameters)
            ));
        };
        let criterion = members.criterion(index, value).map_err(|takes| format!("{name} takes {takes}"))?;
        if !criteria.contains(&criterion) {
            criteria.push(criterion);
        }
    }
    if criteria.len() > MAX_CRITERIA {
        return Err(format!("{} values are too many; at most {MAX_CRITERIA} are allowed", criteria.len()));
    }
    Ok(criteria)
}

impl Members<'_> {
    /// The criterion for a value of the member at `index`.
    ///
    /// # Errors
    /// What the member takes.
    pub(crate) fn criterion(self, index: usize, value: &str) -> Result<Criterion, String> {
        let not = if value.is_empty() { ", not an empty value" } else { "" };
        self.paths[index].text_of(value).map(|text| (index, text)).map_err(|takes| format!("{takes}{not}"))
    }
}

/// The index of the member that a parameter names.
fn index_of(name: &str, members: &[String]) -> Option<usize> {
    let find = |name: &str| members.iter().position(|member| member == name);
    // A dot within a name may come without its backslash; an exact match goes first.
    let with_dots = |name: &str| members.iter().position(|member| member.replace("\\.", ".") == name);
    let within = |name: &str| find(name).or_else(|| with_dots(name));
    within(name).or_else(|| within(name.strip_prefix(MEMBER)?))
}

/// The parameter name of a member, beside these other parameters.
pub(crate) fn parameter(member: &str, parameters: &[&str]) -> String {
    if parameters.contains(&member) { format!("{MEMBER}{member}") } else { member.to_owned() }
}

/// The names of all parameters.
pub(crate) fn all(members: &[String], parameters: &[&str]) -> String {
    let members = members.iter().map(|member| parameter(member, parameters));
    let all: Vec<_> = members.chain(parameters.iter().map(|&name| name.to_owned())).collect();
    if all.is_empty() { format!("none: {NO_MEMBERS}") } else { format!("{}: {NO_MEMBERS}", all.join(", ")) }
}

/// Parameters that are not members, each at most once.
#[derive(Default)]
struct Parameters {
    from: Option<i128>,
    to: Option<i128>,
    ascending: Option<bool>,
    limit: Option<usize>,
    after: Option<String>,
    full: Option<bool>,
}

impl Parameters {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "from" => once(name, &mut self.from, time(name, value)?),
            "to" => once(name, &mut self.to, time(name, value)?),
            "order" => {
                once(name, &mut self.ascending, one_of(name, value, [("asc", true), ("desc", false)])?)
            }
            "limit" => once(name, &mut self.limit, limit(value)?),
            "after" if value.is_empty() => Err("after takes an id, such as the last one of a page".into()),
            "after" => once(name, &mut self.after, value.to_owned()),
            _ => once(name, &mut self.full, flag(name, value)?),
        }
    }
}

/// Sets a value that is not set yet.
pub(crate) fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given more than once")),
    }
}

/// `true` or `false`.
pub(crate) fn flag(name: &str, value: &str) -> Result<bool, String> {
    one_of(name, value, [("true", true), ("false", false)])
}

fn one_of<T: Copy>(name: &str, value: &str, known: [(&str, T); 2]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == value);
    found.map(|found| found.1).ok_or_else(|| format!("{name} takes {} or {}", known[0].0, known[1].0))
}

fn limit(value: &str) -> Result<usize, String> {
    // A sign would be parsed too.
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let limit = digits.and_then(|digits| digits.parse().ok()).filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| format!("limit takes a number from 1 to {MAX_LIMIT}"))
}

/// Nanoseconds since 1970.
fn time(name: &str, value: &str) -> Result<i128, String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows is later than every key.
        return Ok(value.parse().unwrap_or(i128::MAX));
    }
    // A client that does not encode the plus sign of an offset means a plus sign, not the space that it decodes to.
    let plus = value.len().checked_sub("+00:00".len()).filter(|&at| value.as_bytes()[at] == b' ');
    let with_plus = plus.map(|at| format!("{}+{}", &value[..at], &value[at + 1..]));
    let parsed = OffsetDateTime::parse(with_plus.as_deref().unwrap_or(value), &Rfc3339);
    parsed.map(OffsetDateTime::unix_timestamp_nanos).map_err(|_| {
        format!("{name} takes a time such as 2026-01-31T12:00:00Z (RFC 3339), or nanoseconds since 1970")
    })
}

/// The URL of the page after a page that ends with this id.
pub(crate) fn next(path: &str, pairs: &Pairs, last: &str) -> String {
    let kept =
        pairs.iter().filter(|(name, _)| name != "after").map(|(name, value)| (name.as_str(), value.as_str()));
    // An empty cursor is refused as a missing one. No id contains this character, so it lies right after the empty id.
    let last = if last.is_empty() { "\0" } else { last };
    let pairs =
        kept.chain([("after", last)]).map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Percent-encodes text for a URL, in parts.
pub(crate) fn escaped(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> (Vec<String>, Vec<SearchPath>) {
        let json =
            r#"{"order_uid": "", "from": "", "delivery": {"email": ""}, "n": 1, "is": true, "full": true}"#;
        let model = model::Model::new("a", &[model::Source { name: "a.json", json }]).unwrap();
        let names: Vec<_> =
            ["order_uid", "from", "delivery.email", "n", "is", "full"].map(str::to_owned).into();
        let paths = order::searchable(model.shape(), &names).unwrap();
        (names, paths)
    }

    fn pairs(query: &str) -> Pairs {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
    }

    fn asked(query: &str) -> Result<OrdersQuery, String> {
        {
            let (names, paths) = members();
            orders(&pairs(query), Members { names: &names, paths: &paths })
        }
    }

    #[test]
    fn members_are_told_from_parameters() {
        let asked = asked(
            "order_uid=a&$.from=b&delivery.email=c&$.order_uid=a&from=5&full=true&n=1.2e1&is=true&n=12",
        )
        .unwrap();
        let criteria = [(0, "a"), (1, "b"), (2, "c"), (3, "12"), (4, "true")]
            .map(|(index, value)| (index, value.to_owned()));
        assert_eq!(asked.query.criteria, criteria);
        assert_eq!((asked.query.timed, asked.full), (true, true));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (query, said) in [
            (
                "locale=en",
                "there is no parameter \"locale\"; there are order_uid, $.from, delivery.email, n, is, $.full, from, to, order, \
                 limit, after, full: the service's setting SEARCH names the members to search by",
            ),
            ("$.locale=en", "there is no parameter"),
            ("$.limit=5", "there is no parameter"),
            ("n=1.5", "n takes a whole number"),
            ("is=yes", "is takes true or false"),
            ("is=", "is takes true or false, not an empty value"),
            ("n=", "n takes a whole number, not an empty value"),
            ("$.full=1", "$.full takes true or false"),
            ("$.is=1", "$.is takes true or false"),
            ("order=up", "order takes asc or desc"),
            ("order=", "order takes asc or desc"),
            ("full=yes", "full takes true or false"),
            ("limit=0", "limit takes a number from 1 to 1000"),
            ("limit=1001", "limit takes a number from 1 to 1000"),
            ("limit=-1", "limit takes a number from 1 to 1000"),
            ("limit=%2B5", "limit takes a number from 1 to 1000"),
            ("limit=five", "limit takes a number from 1 to 1000"),
            ("limit=5&limit=5", "limit is given more than once"),
            ("from=1&from=2", "from is given more than once"),
            ("from=yesterday", "from takes a time such as"),
            ("to=", "to takes a time such as"),
            ("to=2026-01-31", "to takes a time such as"),
            ("to=2026-13-01T00:00:00Z", "to takes a time such as"),
            ("from=-1", "from takes a time such as"),
            ("from=é 00:00", "from takes a time such as"),
            ("after=", "after takes an id"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(said), "{query}: {error}");
        }
        let many: Vec<_> = (0..=MAX_CRITERIA).map(|number| format!("order_uid={number}")).collect();
        assert!(asked(&many.join("&")).unwrap_err().contains("too many"));
    }

    #[test]
    fn times_are_rfc_3339_or_nanoseconds() {
        let at = 1_769_860_800_000_000_000;
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-01-31T15:00:00+03:00",
            "2026-01-31T15:00:00 03:00",
            "2026-01-31T12:00:00.000000000Z",
            "1769860800000000000",
        ] {
            assert_eq!(time("from", text), Ok(at), "{text}");
        }
        assert_eq!(time("from", "2026-01-31T12:00:00.000000001Z"), Ok(at + 1));
        assert_eq!(time("from", &"9".repeat(50)), Ok(i128::MAX));
        let asked = asked("from=1769860800000000000&to=2026-01-31T12:00:01Z").unwrap();
        assert_eq!(
            (asked.query.low.as_str(), asked.query.high.as_deref()),
            ("1769860800000000000", Some("1769860801000000000"))
        );
    }

    #[test]
    fn a_cursor_narrows_what_is_asked_for() {
        let bounds = |query: &str| {
            let query = asked(query).unwrap().query;
            (query.low, query.high)
        };
        assert_eq!(bounds("after=b"), (String::new(), Some("b".into())));
        assert_eq!(bounds("after=b&order=asc"), ("b\0".into(), None));
        let (from, to) = ("1700000000000000000", "1800000000000000000");
        let with = |after: &str| bounds(&format!("from={from}&to={to}&{after}"));
        assert_eq!(with("after=9"), (from.into(), Some(to.into())));
        assert_eq!(with("after=1750000000000000000-1"), (from.into(), Some("1750000000000000000-1".into())));
        assert_eq!(with("after=1&order=asc"), (from.into(), Some(to.into())));
        let after = "1750000000000000000-1\0";
        assert_eq!(with("order=asc&after=1750000000000000000-1"), (after.into(), Some(to.into())));
    }

    #[test]
    fn the_page_after_the_empty_id_begins_with_the_next_one() {
        let next = next("/orders", &pairs("order=asc"), "");
        assert_eq!(next, "/orders?order=asc&after=%00");
        let query = asked("order=asc&after=\0").unwrap().query;
        assert!("" < query.low.as_str() && query.low.as_str() < "\u{1}");
    }

    #[test]
    fn the_next_page_has_all_other_parameters_and_escapes_what_has_a_meaning() {
        let pairs = pairs("order_uid=a b/ü>;&after=1&limit=2&$.from=x");
        assert_eq!(
            next("/orders", &pairs, "k&\"1\""),
            "/orders?order_uid=a%20b%2F%C3%BC%3E%3B&limit=2&%24.from=x&after=k%26%221%22"
        );
    }
}
