use super::*;

/// Hosts with their labels; `web02` is unreachable; operation `o1` failed on `web01`.
#[derive(Default)]
struct Few(Vec<(HostName, BTreeMap<String, String>)>);

impl Inventory for Few {
    fn names(&self) -> impl Iterator<Item = &HostName> {
        self.0.iter().map(|(name, _)| name)
    }

    fn state(&self, host: &HostName) -> Option<HostState> {
        let found = self.names().find(|name| *name == host)?;
        Some(match found.as_str() {
            "web02" => HostState::Unreachable,
            _ => HostState::Connected,
        })
    }

    fn labels(&self, host: &HostName) -> BTreeMap<String, String> {
        let found = self.0.iter().find(|(name, _)| name == host);
        found.map(|(_, labels)| labels.clone()).unwrap_or_default()
    }

    fn outcomes(&self, operation: &str) -> Option<Outcomes> {
        let outcomes = [
            ("web01".to_owned(), vec![Outcome::Done, Outcome::Failed]),
            ("web10".to_owned(), vec![Outcome::Done]),
        ];
        (operation == "o1").then(|| outcomes.into())
    }
}

fn few() -> Few {
    let hosts = [
        ("db01", "role=db,group=data"),
        ("web01", "role=web,dc=fra,group=front+data"),
        ("web02", "role=web,dc=ber"),
        ("web10", "role=web,dc=ber,group=front"),
    ];
    let host = |(name, labels): (&str, &str)| {
        let labels = labels.split(',').filter_map(|l| l.split_once('='));
        let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned()));
        (name.parse().unwrap(), labels.collect())
    };
    Few(hosts.into_iter().map(host).collect())
}

fn selection(include: &[&str], exclude: &[&str], labels: &[&str]) -> HostSelection {
    let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    HostSelection {
        include: own(include),
        exclude: own(exclude),
        labels: own(labels),
        ..Default::default()
    }
}

fn resolve(selection: &HostSelection) -> Result<(String, String), String> {
    let selected = select(selection, &few()).map_err(|e| e.to_string())?;
    let hosts: Vec<&str> = selected.hosts.iter().map(HostName::as_str).collect();
    Ok((hosts.join(" "), selected.missing.join(" ")))
}

#[test]
fn a_selection_is_a_union_minus_the_excluded_narrowed_by_labels() {
    for (include, exclude, labels, hosts) in [
        (vec!["web*"], vec!["web02"], vec![], "web01 web10"),
        (vec!["web01", "db*"], vec![], vec![], "db01 web01"),
        (vec!["web*"], vec![], vec!["dc=ber"], "web02 web10"),
        (vec![], vec![], vec!["role=web", "dc!=fra"], "web02 web10"),
        (vec![], vec!["web10"], vec!["role=web"], "web01 web02"),
        (vec!["@front"], vec![], vec![], "web01 web10"),
        (vec!["@data!@front"], vec![], vec![], "db01"),
        (vec!["@state:unreachable"], vec![], vec![], "web02"),
        (vec!["web*&@state:connected"], vec![], vec![], "web01 web10"),
        (vec!["@op:o1:failed"], vec![], vec![], "web01"),
        (vec!["@op:o1"], vec!["@op:o1:failed"], vec![], "web10"),
    ] {
        let found = resolve(&selection(&include, &exclude, &labels));
        let wanted = Ok((hosts.to_owned(), String::new()));
        assert_eq!(found, wanted, "{include:?} {exclude:?} {labels:?}");
    }
    let all = HostSelection {
        all: true,
        ..selection(&[], &["web*"], &[])
    };
    assert_eq!(resolve(&all), Ok(("db01".into(), String::new())));
}

#[test]
fn names_said_in_full_are_missed() {
    let missing =
        |include: &[&str], exclude: &[&str]| resolve(&selection(include, exclude, &[])).unwrap().1;
    assert_eq!(missing(&["web[01-03]", "x*"], &[]), "web03");
    assert_eq!(missing(&["web[01-03]"], &["web03"]), "");
    assert_eq!(missing(&["web[01-04]!web04"], &[]), "web03");
    let narrowed = selection(&["web01", "web02"], &[], &["dc=fra"]);
    assert_eq!(resolve(&narrowed), Ok(("web01".into(), String::new())));
}

#[test]
fn a_limit_draws_the_same_hosts_for_the_same_seed() {
    let drawn = |size, seed: &str| {
        let selection = HostSelection {
            all: true,
            limit: Some(HostLimit {
                size: Some(size),
                seed: seed.to_owned(),
            }),
            ..Default::default()
        };
        resolve(&selection).map(|(hosts, _)| hosts)
    };
    let two = drawn(Size::Count(2), "a").unwrap();
    assert_eq!(two.split(' ').count(), 2);
    assert_eq!(drawn(Size::Count(2), "a").unwrap(), two);
    assert_eq!(drawn(Size::Percent(50), "a").unwrap(), two);
    assert_eq!(drawn(Size::Percent(26), "a").unwrap(), two, "rounded up");
    let three = drawn(Size::Count(3), "a").unwrap();
    assert!(two.split(' ').all(|host| three.contains(host)));
    assert_eq!(drawn(Size::Count(99), "a").unwrap().split(' ').count(), 4);
    let seeds: HashSet<String> = (0..20)
        .map(|i| drawn(Size::Count(1), &i.to_string()).unwrap())
        .collect();
    assert!(seeds.len() > 1, "every seed draws the same");
    for size in [Size::Count(0), Size::Percent(0), Size::Percent(101)] {
        assert!(drawn(size, "a").unwrap_err().starts_with("a limit is"));
    }
}

#[test]
fn a_selection_without_a_host_is_an_error_that_says_so() {
    for (include, exclude, labels, error) in [
        (
            vec![],
            vec![],
            vec![],
            "no hosts are selected: a controller has no host of its own",
        ),
        (vec!["x*"], vec![], vec![], "no enrolled host matches `x*`"),
        (
            vec!["web99"],
            vec![],
            vec![],
            "no enrolled host matches `web99`",
        ),
        (
            vec!["web*"],
            vec!["*"],
            vec!["dc=fra"],
            "no enrolled host matches `web*` without `*` with labels `dc=fra`",
        ),
        (
            vec!["web[1"],
            vec![],
            vec![],
            "unbalanced `[` in host pattern `web[1`",
        ),
        (
            vec!["@op:o2:failed"],
            vec![],
            vec![],
            "`@op:o2`: no operation of this id is known",
        ),
        (
            vec!["web*"],
            vec![],
            vec!["=x"],
            "`` in label expression `=x` is not the name of a label",
        ),
    ] {
        let found = resolve(&selection(&include, &exclude, &labels));
        assert_eq!(found, Err(error.to_owned()));
    }
    let all = HostSelection {
        all: true,
        ..Default::default()
    };
    assert_eq!(select(&all, &Few::default()), Err(SelectionError::NoHosts));
}
