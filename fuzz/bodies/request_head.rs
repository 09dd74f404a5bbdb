//! Where a request carries its credential, and from which page it comes. The first line is the query, the others
//! are headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use rowcast::transport::credentials::offered;
use rowcast::transport::origin::Origins;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let query = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), value.trim().parse::<HeaderValue>())
        {
            headers.append(name, value);
        }
    }
    let _ = offered(&headers, query);
    if let Ok(origins) = Origins::parse(&[query]) {
        let _ = origins;
    }
}
