//! The status page.

use std::time::SystemTime;

use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};

use super::Pages;
use super::form::Fields;
use super::view::View;
use crate::compat::server::{Reply, html};

impl Pages {
    pub(crate) async fn status(&self, query: &str, headers: &HeaderMap) -> Reply {
        let fields = Fields::parse(query);
        if fields
            .get("action")
            .is_some_and(|action| action != "refresh")
        {
            let text =
                "Nothing was done: an action is sent by the buttons of this page, not by a link.";
            return self
                .rendered(StatusCode::METHOD_NOT_ALLOWED, text, headers)
                .await;
        }
        let message = fields.get("message").unwrap_or_default();
        self.rendered(StatusCode::OK, message, headers).await
    }

    async fn rendered(&self, status: StatusCode, message: &str, headers: &HeaderMap) -> Reply {
        let session = self.sessions.of(headers);
        let processes = self.supervision.processes().await;
        let mut view = self.view(self.sessions.token(&session));
        message.clone_into(&mut view.message);
        let mut reply = match processes {
            Ok(processes) => html(status, view.page(Some(&processes))),
            Err(_) => html(StatusCode::SERVICE_UNAVAILABLE, view.page(None)),
        };
        if let Some(cookie) = session.cookie() {
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        reply
    }

    /// What a page with forms of this token shows besides the processes, as of now.
    pub(super) fn view(&self, token: String) -> View {
        let configured = self.supervision.configured();
        let notice = match self.supervision.is_ending() {
            true => "Every program is being stopped.".to_owned(),
            false => self.supervision.notice(),
        };
        View {
            identifier: configured.config.supervisord.identifier.clone(),
            message: String::new(),
            notice,
            token,
            now: SystemTime::now(),
            configured,
        }
    }
}
