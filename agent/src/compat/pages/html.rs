//! Writing HTML so that nothing foreign gets in unescaped: markup is a constant of the program,
//! everything else is text.

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Begins a page with this title.
    pub(super) fn page(title: &str) -> Self {
        let mut html = Self::default();
        html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
            .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
            .markup("<link rel=\"stylesheet\" href=\"/stylesheets/supervisor.css\">\n<title>")
            .text(title)
            .markup("</title>\n</head>\n<body>\n");
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

    /// Ends the page.
    pub(super) fn finish(mut self) -> String {
        self.markup("</body>\n</html>\n");
        self.0
    }
}
