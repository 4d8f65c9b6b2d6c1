//! Random input that is odd often enough and sound often enough.

/// A small generator with a full period; the same numbers from the same seed for ever.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What `environment=`, commands and quoted texts are made of.
pub(super) const WORDS: &[&str] = &[
    "A",
    "=",
    ",",
    "A=1,",
    "B=\"x y\",",
    "C='q'",
    "\"",
    "'",
    "\\",
    " ",
    "\t",
    "\n",
    "#",
    "/a.b+c-d",
    "(:)",
    "@",
    "\u{e9}",
    "\u{d7}",
    "\u{4e2d}",
    "\u{1f600}",
    "%",
    ";",
    "\u{a0}",
    "\r",
    "\u{1}",
    "\"\"",
    "\\\"",
    "_9",
];

/// What expansions are made of.
pub(super) const FORMATS: &[&str] = &[
    "%(a)", "%(n)", "%(m)", "%(ENV_E)", "%(nope)", "%", "%%", "(", ")", "s", "s", "d", "d", "i",
    "u", "x", "X", "o", "r", "a", "c", "f", "F", "y", "Y", "0", "2", "5", "-", "+", " ", "#", ".",
    ".3", "h", "l", "L", "*", "text", "\u{e9}", "\u{20ac}", "%(a)s", "%(n)02d", "%(n)d",
];

/// What numbers are made of.
pub(super) const NUMBERS: &[&str] = &[
    "0", "1", "7", "9", "_", "-", "+", " ", "0o", "0O", "0x", "\t", "\u{a0}", ".", "e", "12",
];

/// Up to `most` fragments in a row.
pub(super) fn fragments(random: &mut Random, alphabet: &[&str], most: usize) -> String {
    let count = random.below(most);
    (0..count).map(|_| random.pick(alphabet)).collect()
}

const BREAKS: &[&str] = &["\n", "\n", "\n", "\n", "\r\n", "\r"];

const SECTIONS: &[&str] = &[
    "[supervisord]",
    "[program:a]",
    "[program:b]",
    "[DEFAULT]",
    "[a[0]]",
    "[ x ]",
    "[]]",
    "[a]b",
    "[=:]",
    "[\"q\\\"]",
    "[\u{e9};#]",
];

const KEYS: &[&str] = &[
    "command",
    "Command",
    "k",
    "k",
    "a b",
    "[x",
    "\"q",
    "\\n",
    "\u{130}",
    "\u{3a3}\u{3a3}",
    "'",
    "%(x)s",
];

const TEXT: &[&str] = &[
    "x",
    "value",
    " ",
    "\t",
    ";",
    "#",
    " ;",
    " #",
    "\t;",
    ";;",
    "##",
    "=",
    ":",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "\\n",
    "\\x41",
    "%(a)s",
    "\u{e9}",
    "\u{a0}",
    "\u{1f600}",
    "\u{1c}",
    "\u{85}",
    "\u{2028}",
    "\u{b}",
    "\u{c}",
    "\u{0}",
    "\u{feff}",
];

/// A file: sound lines for the most part, some of anything.
pub(super) fn ini_file(random: &mut Random) -> String {
    let mut out = String::new();
    if random.one_in(20) {
        out.push('\u{feff}');
    }
    if !random.one_in(10) {
        out.push_str(random.pick(SECTIONS));
        out.push('\n');
    }
    for _ in 0..random.below(14) {
        line(random, &mut out);
        out.push_str(random.pick(BREAKS));
    }
    out
}

fn line(random: &mut Random, out: &mut String) {
    for _ in 0..random.below(4).saturating_sub(1) {
        out.push_str(random.pick(&[" ", "\t", "  ", "\u{a0}"]));
    }
    match random.below(24) {
        0..=4 => {
            out.push_str(random.pick(SECTIONS));
            if random.one_in(3) {
                out.push_str(&fragments(random, TEXT, 3));
            }
        }
        5..=17 => {
            out.push_str(random.pick(KEYS));
            out.push_str(random.pick(&["=", ":", " = ", " : ", "=\t"]));
            out.push_str(&fragments(random, TEXT, 8));
        }
        18..=19 => {
            out.push_str(random.pick(&[";", "#", " ;", "\t#"]));
            out.push_str(&fragments(random, TEXT, 5));
        }
        20..=22 => {
            out.push_str(random.pick(&["", "  ", "\t", "    x", "\tx=1"]));
        }
        _ => out.push_str(&fragments(random, TEXT, 6)),
    }
}
