//! The pages as text: what is in them, and what must not be.

use std::time::SystemTime;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use rsv_proto::wire::exit_status::Kind;
use rsv_proto::wire::{ExitStatus, ProcessState, Refusal};

use super::form::decode;
use super::view::View;
use super::*;
use crate::compat::fake::{Fake, process};
use crate::compat::server::{Body, Reply};

const HOSTILE: &str = "x\"'><script>alert(1)&";

fn pages(fake: Fake) -> (Arc<Fake>, Arc<Pages>) {
    let fake = Arc::new(fake);
    let supervision: Arc<dyn Supervision> = Arc::clone(&fake) as _;
    let rpc = Rpc::new(Arc::clone(&supervision), vec!["supervisor".to_owned()]);
    (fake, Arc::new(Pages::new(supervision, rpc)))
}

async fn text(reply: Reply) -> String {
    piece(&mut reply.into_body()).await.unwrap()
}

/// The next piece of a body.
async fn piece(mut body: &mut Body) -> Option<String> {
    use hyper::body::Body as _;
    let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
    let bytes = frame.await?.unwrap().into_data().unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

/// The next event of a live page: its name and its data.
async fn event(body: &mut Body) -> (String, serde_json::Value) {
    let text = piece(body).await.unwrap();
    let text = text.strip_suffix("\n\n").unwrap();
    let (name, data) = text.split_once('\n').unwrap();
    let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    (name.strip_prefix("event: ").unwrap().to_owned(), data)
}

/// A browser that has seen the page: its cookie, and the token of its forms.
async fn browser(pages: &Pages) -> (HeaderMap, String) {
    let reply = pages.status("", &HeaderMap::new()).await;
    let cookie = reply.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let page = text(reply).await;
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
    let token = rest.split('"').next().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    let cookie = cookie.split(';').next().unwrap();
    headers.insert(COOKIE, cookie.parse().unwrap());
    (headers, token)
}

/// What the page says after a form was sent.
async fn sent(pages: &Pages, fields: &str) -> String {
    let (headers, token) = browser(pages).await;
    let form = format!("token={token}&{fields}");
    let reply = pages.act(&headers, form.as_bytes()).await;
    assert_eq!(reply.status(), StatusCode::SEE_OTHER);
    let place = reply.headers()[LOCATION].to_str().unwrap();
    decode(place.strip_prefix("./?message=").unwrap())
}

#[test]
fn nothing_foreign_gets_into_a_page_unescaped() {
    let directory = tempfile::tempdir().unwrap();
    let view = View {
        configured: Fake::new(directory.path()).configured(),
        identifier: HOSTILE.to_owned(),
        message: HOSTILE.to_owned(),
        notice: HOSTILE.to_owned(),
        token: HOSTILE.to_owned(),
        now: SystemTime::now(),
    };
    let mut failed = process(HOSTILE, "p", ProcessState::Fatal);
    failed.spawn_error = HOSTILE.to_owned();
    failed.log_trouble = HOSTILE.to_owned();
    let running = process(HOSTILE, HOSTILE, ProcessState::Running);
    let text = view.page(Some(&[running, failed]));
    assert!(!text.contains("<script>"), "{text}");
    assert!(!text.contains("x\""), "{text}");
    assert!(!text.contains("x&quot;'"), "{text}");
    assert!(text.contains("x&quot;&#39;&gt;&lt;script&gt;alert(1)&amp;"));
}

#[tokio::test]
async fn the_page_shows_each_state_with_what_can_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let (_, pages) = pages(Fake::new(directory.path()));
    let page = text(
        pages
            .status("message=Hello+%3Cb%3E", &HeaderMap::new())
            .await,
    )
    .await;
    assert!(page.contains("role=\"status\">Hello &lt;b&gt;</div>"));
    assert!(page.contains("<span class=\"status statusrunning\">running</span>"));
    assert!(page.contains("<span class=\"status statuserror\">fatal</span>"));
    assert!(page.contains("href=\"tail.html?processname=grp%3Aone\">grp:one</a>"));
    assert!(page.contains("href=\"logtail/a/stderr\""));
    let actions = page.matches("value=\"restart\"").count();
    assert_eq!((actions, page.matches("value=\"start\"").count()), (2, 2));
    assert!(!page.contains("<script>"));
    assert!(page.contains("2 of 4 running, 1 needs attention:"));
    assert!(page.contains("<li><a href=\"#p-grp_3atwo\">grp:two</a> fatal</li>"));
    assert!(page.contains("<tr id=\"p-grp_3atwo\">"));
}

#[tokio::test]
async fn links_stay_under_the_path_at_which_a_proxy_shows_the_page() {
    let directory = tempfile::tempdir().unwrap();
    let (_, pages) = pages(Fake::new(directory.path()));
    let status = text(pages.status("", &HeaderMap::new()).await).await;
    let tail = text(pages.tail("processname=a").await).await;
    for page in [status, tail] {
        for attribute in ["href", "src", "action", "data-from"] {
            assert!(
                page.contains(attribute) || attribute == "data-from",
                "{attribute}"
            );
            assert!(!page.contains(&format!("{attribute}=\"/")), "{page}");
        }
    }
}

#[tokio::test]
async fn a_script_is_told_what_came_of_an_action_without_being_led_away() {
    let directory = tempfile::tempdir().unwrap();
    let (_, pages) = pages(Fake::new(directory.path()));
    let (mut headers, token) = browser(&pages).await;
    headers.insert(http::header::ACCEPT, "application/json".parse().unwrap());
    for (token, message) in [(&token[..], "Process a stopped"), ("x", "Nothing was done")] {
        let form = format!("token={token}&action=stop&processname=a");
        let reply = pages.act(&headers, form.as_bytes()).await;
        assert_eq!(reply.status(), StatusCode::OK);
        let answer: serde_json::Value = serde_json::from_str(&text(reply).await).unwrap();
        assert!(answer["message"].as_str().unwrap().starts_with(message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_page_gets_everything_then_changes_then_signs_of_life() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, pages) = pages(Fake::new(directory.path()));
    let (headers, token) = browser(&pages).await;
    let reply = pages.live(&headers);
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let mut body = reply.into_body();
    let (name, all) = event(&mut body).await;
    assert_eq!(
        (&name[..], all["token"].as_str()),
        ("all", Some(&token[..]))
    );
    assert!(all["table"].as_str().unwrap().contains(&token));
    let start = tokio::time::Instant::now();
    assert_eq!(event(&mut body).await.0, "beat");
    assert_eq!(start.elapsed().as_secs(), 10);
    // Changes in one breath are one event, with what has changed and nothing else.
    fake.change(|processes| processes[0].set_state(ProcessState::Stopping));
    fake.change(|processes| processes[0].set_state(ProcessState::Stopped));
    let (name, some) = event(&mut body).await;
    let rows = some["rows"].as_array().unwrap();
    assert_eq!((&name[..], rows.len()), ("some", 1));
    assert!(rows[0].as_str().unwrap().starts_with("<tr id=\"p-a\">"));
    assert!(some["summary"].as_str().unwrap().contains("1 of 4 running"));
    // What changes nothing that is shown is no event.
    fake.change(|_| ());
    assert_eq!(event(&mut body).await.0, "beat");
    fake.change(|processes| processes.push(process("new", "new", ProcessState::Running)));
    let (name, all) = event(&mut body).await;
    assert_eq!(name, "all");
    assert!(all["table"].as_str().unwrap().contains("<tr id=\"p-new\">"));
}

#[tokio::test]
async fn only_an_unexpected_exit_needs_attention() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, pages) = pages(Fake::new(directory.path()));
    for (code, says) in [
        (0, "1 of 4 running, 1 needs attention:"),
        (3, "1 of 4 running, 2 need attention:"),
    ] {
        fake.change(|processes| {
            processes[0].set_state(ProcessState::Exited);
            processes[0].exit = Some(ExitStatus {
                kind: Some(Kind::Code(code)),
                core_dumped: false,
            });
        });
        let page = text(pages.status("", &HeaderMap::new()).await).await;
        assert!(page.contains(says), "{code} {page}");
        assert_eq!(page.contains("exited: exit status 3"), code == 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_no_more_than_four_updates_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, pages) = pages(Fake::new(directory.path()));
    let mut body = pages.live(&HeaderMap::new()).into_body();
    assert_eq!(event(&mut body).await.0, "all");
    let start = tokio::time::Instant::now();
    for pid in 0..8 {
        fake.change(|processes| processes[0].pid = Some(pid));
        assert_eq!(event(&mut body).await.0, "some");
    }
    assert!(start.elapsed().as_millis() >= 2000);
}

#[tokio::test]
async fn live_pages_are_so_many_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (_, pages) = pages(Fake::new(directory.path()));
    let mut open: Vec<_> = (0..live::STREAMS)
        .map(|_| pages.live(&HeaderMap::new()))
        .collect();
    assert!(open.iter().all(|reply| reply.status() == StatusCode::OK));
    let full = pages.live(&HeaderMap::new());
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    assert_eq!(pages.live(&HeaderMap::new()).status(), StatusCode::OK);
}

#[tokio::test]
async fn an_action_needs_the_token_of_the_page_and_is_never_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, pages) = pages(Fake::new(directory.path()));
    let (headers, token) = browser(&pages).await;
    for (headers, token) in [(HeaderMap::new(), &token[..]), (headers.clone(), "x")] {
        let form = format!("token={token}&action=stop&processname=a");
        let reply = pages.act(&headers, form.as_bytes()).await;
        let place = reply.headers()[LOCATION].to_str().unwrap().to_owned();
        assert!(decode(&place).contains("Nothing was done"), "{place}");
    }
    let link = pages.status("action=stop&processname=a", &headers).await;
    assert_eq!(link.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(fake.asked().is_empty());
    let unknown = format!("token={token}&action=explode");
    let reply = pages.act(&headers, unknown.as_bytes()).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn buttons_do_what_they_say_and_tell_the_truth() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::new(directory.path())
        .refusing("grp:two", Refusal::SpawnError, "")
        .refusing("b", Refusal::NoFile, "no");
    let (fake, pages) = pages(fake);
    for (fields, message) in [
        ("action=stop&processname=a", "Process a stopped"),
        ("action=restart&processname=a", "Process a restarted"),
        (
            "action=restart&processname=grp%3Atwo",
            "ERROR: Process grp:two: spawn error",
        ),
        (
            "action=start&processname=b",
            "ERROR: Process b: no such file",
        ),
        ("action=clearlog&processname=a", "Log for a cleared"),
        ("action=start&processname=zz", "No such process named zz"),
        ("action=stop", "No such process named "),
    ] {
        assert_eq!(sent(&pages, fields).await, message);
    }
    assert!(
        sent(&pages, "action=stopall")
            .await
            .starts_with("All stopped at ")
    );
    assert!(
        sent(&pages, "action=refresh")
            .await
            .starts_with("Page refreshed at ")
    );
    let all = sent(&pages, "action=restartall").await;
    assert_eq!(
        all,
        "ERROR: 2 of 4 not restarted: NO_FILE: no; SPAWN_ERROR: grp:two"
    );
    assert!(fake.asked().contains(&"stop a grp:one".to_owned()));
}

#[tokio::test]
async fn the_end_of_a_log_is_text_whatever_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let log = [&b"old".repeat(1000)[..], b"</pre><script>\x1b[1m\xff"].concat();
    std::fs::write(directory.path().join("a.log"), log).unwrap();
    let fake = Fake::new(directory.path()).with(process("n", HOSTILE, ProcessState::Stopped));
    let (_, pages) = pages(fake);
    let page = text(pages.tail("processname=a&limit=10").await).await;
    assert!(
        page.contains("&lt;/pre&gt;&lt;script&gt;\u{241b}[1m\u{fffd}</pre>"),
        "{page}"
    );
    assert!(page.len() < 2500, "{}", page.len());
    for (query, says) in [
        ("", "No process name found"),
        ("processname=a&channel=stderr", "No file for a"),
        ("processname=b", "No file for b"),
        (
            "processname=<b>",
            "ERROR: unexpected rpc fault [10] BAD_NAME: &lt;b&gt;",
        ),
    ] {
        let page = text(pages.tail(query).await).await;
        assert!(page.contains(&format!(">{says}</pre>")), "{page}");
    }
}

#[test]
fn a_date_is_as_http_writes_it() {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
}
