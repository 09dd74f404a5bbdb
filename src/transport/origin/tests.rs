//! Which origins pass, and what a browser is told.

use super::*;

fn origins() -> Origins {
    Origins::parse(&["https://app.example.com", "http://localhost:3000", "capacitor://localhost"])
        .unwrap()
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

fn passes(host: &str, origin: &str) -> bool {
    let headers = headers(&[(header::HOST, host), (header::ORIGIN, origin)]);
    origins().judge(&Method::GET, &headers).is_ok()
}

#[test]
fn listed_origins_pass() {
    for origin in [
        "https://app.example.com",
        "https://APP.example.com",
        "https://app.example.com:443",
        "http://localhost:3000",
        "capacitor://localhost",
    ] {
        assert!(passes("api.example.com", origin), "{origin}");
    }
}

#[test]
fn all_other_origins_are_refused() {
    for origin in [
        "null",
        "",
        "*",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.org",
        "https://evil.org/https://app.example.com",
        "https://evil.org#https://app.example.com",
        "https://app.example.com@evil.org",
        "https://user@app.example.com",
        "https://sub.app.example.com",
        "https://xapp.example.com",
        "https://app.example.com https://evil.org",
        "app.example.com",
        "http://localhost",
        "https://api.example.com.",
    ] {
        assert!(!passes("api.example.com", origin), "{origin}");
    }
}

#[test]
fn the_own_origin_always_passes() {
    assert!(passes("api.example.com", "https://api.example.com"));
    assert!(passes("API.example.com:443", "https://api.example.com"));
    assert!(passes("127.0.0.1:4040", "http://127.0.0.1:4040"));
    assert!(passes("[::1]:4040", "http://[::1]:4040"));
    assert!(!passes("127.0.0.1:4040", "http://127.0.0.1:4041"));
    assert!(!passes("127.0.0.1:4040", "http://127.0.0.1"));
    assert!(!passes("api.example.com:80", "https://api.example.com"));
    assert!(!passes("api.example.com", "tauri://api.example.com"));
}

#[test]
fn a_request_without_an_origin_passes_and_one_with_two_does_not() {
    let bare = headers(&[(header::HOST, "api.example.com")]);
    assert!(origins().judge(&Method::GET, &bare).unwrap().origin.is_none());
    let mut twice = headers(&[(header::ORIGIN, "https://app.example.com")]);
    twice.append(header::ORIGIN, HeaderValue::from_static("https://app.example.com"));
    assert!(origins().judge(&Method::GET, &twice).is_err());
}

#[test]
fn entries_that_are_no_origin_are_named() {
    for bad in
        ["*", "null", "app.example.com", "https://", "https://a/b", "https://a:x", "https://u@a"]
    {
        let error = Origins::parse(&[bad]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{bad}` is no origin")), "{error}");
    }
}

async fn answer(method: Method, lines: &[(HeaderName, &str)]) -> Response {
    let routes = warp::any().map(|| "here you are".into_response()).boxed();
    let service = warp::service(guard(origins, Observer::default(), routes));
    let mut request = http::Request::builder().method(method).uri("/v1/events");
    *request.headers_mut().unwrap() = headers(lines);
    let request = request.body(http_body()).unwrap();
    let service = hyper_util::service::TowerToHyperService::new(service);
    let Ok(response) = hyper::service::Service::call(&service, request).await;
    response
}

/// Any body will do: warp's own is at hand.
fn http_body() -> impl hyper::body::Body<Data = bytes::Bytes, Error = warp::Error> {
    Response::default().into_body()
}

#[tokio::test]
async fn an_allowed_page_may_read_the_answer() {
    let response = answer(Method::GET, &[(header::ORIGIN, "https://app.example.com")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
    assert_eq!(headers[header::VARY], "origin");
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}

#[tokio::test]
async fn a_preflight_is_answered_without_reaching_the_routes() {
    let preflight = |origin| {
        [
            (header::ORIGIN, origin),
            (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization"),
        ]
    };
    let response = answer(Method::OPTIONS, &preflight("https://app.example.com")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");

    let response = answer(Method::OPTIONS, &preflight("https://evil.org")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn another_page_is_refused_and_no_page_is_served() {
    let response = answer(Method::POST, &[(header::ORIGIN, "null")]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let response = answer(Method::POST, &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::VARY], "origin");
}
