//! The way from Supervisor to rsv on one machine: the section to add, and the commands to type.

use std::path::Path;

use rsv_config::Import;

/// Where the unit of deploy/systemd looks.
const UNIT_FILE: &str = "/etc/rsv/agent.conf";

/// How one machine is switched over.
pub(super) struct Switch {
    /// The file, as a shell takes it.
    file: String,
    is_units_file: bool,
    /// What `[agent]` is called; none when the file has one.
    name: Option<String>,
}

impl Switch {
    /// For an absolute path and the name of this machine.
    pub(super) fn of(file: &Path, name: &str, found: &Import) -> Self {
        Self {
            file: quoted(&file.display().to_string()),
            is_units_file: file == Path::new(UNIT_FILE),
            name: (!found.has_agent).then(|| name.to_owned()),
        }
    }

    /// The section to add; none when there is one. Supervisor passes it over.
    pub(super) fn section(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(format!("[agent]\nname = {name}\n"))
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(section) = self.section() {
            lines.push(String::new());
            lines.push("The section to add to the file, which Supervisor passes over:".to_owned());
            lines.extend(section.lines().map(|line| format!("  {line}")));
        }
        for (heading, commands) in self.steps() {
            lines.extend([String::new(), format!("{heading}:")]);
            lines.extend(commands.iter().map(|command| format!("  {command}")));
        }
        lines
    }

    /// For scripts: the way with systemd, in order, without the way back.
    pub(super) fn commands(&self) -> Vec<String> {
        let steps = self.steps().into_iter().take(2);
        steps.flat_map(|(_, commands)| commands).collect()
    }

    fn steps(&self) -> Vec<(&'static str, Vec<String>)> {
        let file = &self.file;
        let mut there = vec!["systemctl disable --now supervisor".to_owned()];
        if !self.is_units_file {
            there.extend(self.drop_in());
        }
        let mut prepared = vec![format!("rsv-agent check -c {file}")];
        if let Some(name) = &self.name {
            let name = quoted(name);
            prepared.insert(
                0,
                format!("printf '\\n[agent]\\nname = %s\\n' {name} >> {file}"),
            );
        }
        there.push("systemctl enable --now rsv-keeper rsv-agent".to_owned());
        there.push(format!("rsv -c {file} status"));
        vec![
            ("To be sure first", prepared),
            (
                "To switch over, as root (the unit is called `supervisord` on some systems; \
                 its programs are stopped)",
                there,
            ),
            (
                "Or without systemd",
                vec![
                    format!("pid=$(supervisorctl -c {file} pid)"),
                    format!("supervisorctl -c {file} shutdown"),
                    "while kill -0 \"$pid\" 2>/dev/null; do sleep 1; done".to_owned(),
                    format!("rsv-agent -c {file}"),
                ],
            ),
            (
                "And back",
                vec![
                    "systemctl disable --now rsv-agent rsv-keeper".to_owned(),
                    "systemctl enable --now supervisor".to_owned(),
                ],
            ),
        ]
    }

    /// Has the agent's unit read this file.
    fn drop_in(&self) -> [String; 3] {
        let file = &self.file;
        let directory = "/etc/systemd/system/rsv-agent.service.d";
        let start = "ExecStart=/usr/bin/rsv-agent --nodaemon --leave-programs --await-keeper --configuration";
        [
            format!("mkdir -p {directory}"),
            format!(
                "printf '[Service]\\nExecStart=\\n{start} %s\\n' {file} > {directory}/configuration.conf"
            ),
            "systemctl daemon-reload".to_owned(),
        ]
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_would_take_them_apart() {
        for (word, expected) in [
            ("/etc/supervisord.conf", "/etc/supervisord.conf"),
            ("/my files/a.conf", "'/my files/a.conf'"),
            ("it's", "'it'\\\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
