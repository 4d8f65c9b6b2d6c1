//! Writing HTML so that nothing foreign gets in unescaped: markup is a constant of the program,
//! everything else is text. Links are relative, so that the pages also work behind a proxy that shows
//! them under a path of its own.

/// A page, or a piece of one, in the making.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Begins a page with this title, whose first link leads to `#content`.
    pub(super) fn page(title: &str) -> Self {
        let mut html = Self::default();
        html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
            .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
            .markup("<link rel=\"stylesheet\" href=\"stylesheets/supervisor.css\">\n")
            .markup("<link rel=\"icon\" href=\"images/icon.svg\" type=\"image/svg+xml\">\n")
            .markup("<script src=\"scripts/live.js\" defer></script>\n<title>")
            .text(title)
            .markup("</title>\n</head>\n<body>\n")
            .markup("<a class=\"skip\" href=\"#content\">Skip to the content</a>\n");
        html
    }

    /// Markup of our own.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of whoever; also between the quotes of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A piece that was made here too.
    pub(super) fn piece(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// A field of a form that is not shown.
    pub(super) fn hidden(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.markup("<input type=\"hidden\" name=\"")
            .markup(name)
            .markup("\" value=\"")
            .text(value)
            .markup("\">")
    }

    /// Ends the page.
    pub(super) fn finish(mut self) -> String {
        self.markup("<footer>rsv ")
            .text(env!("CARGO_PKG_VERSION"))
            .markup("</footer>\n</body>\n</html>\n");
        self.0
    }

    /// The piece as it is.
    pub(super) fn into_piece(self) -> String {
        self.0
    }
}
