use http::header::HOST;
use proptest::prelude::*;

use super::*;

const PEER: &str = "10.0.0.9";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

/// Of a request that a proxy sent which is believed, as are those of 10.0.0.0/8 and one of IPv6.
fn believed(pairs: &[(&str, &str)]) -> Origin {
    let trusted = networks(&["10.0.0.0/8", "2001:db8::5"]);
    Origin::of(&headers(pairs), address(PEER), false, &trusted)
}

fn found(pairs: &[(&str, &str)]) -> String {
    let Origin { client, secure, host, proxies } = believed(pairs);
    let chain: Vec<String> =
        std::iter::once(client).chain(proxies).map(|address| address.to_string()).collect();
    let secure = if secure { " secure" } else { "" };
    let host = host.map(|host| format!(" {}", host.to_str().unwrap())).unwrap_or_default();
    chain.join(" < ") + secure + &host
}

#[test]
fn the_client_is_the_last_who_is_no_trusted_proxy() {
    const FOR: &str = "x-forwarded-for";
    for (chain, wanted) in [
        (vec![], "10.0.0.9"),
        (vec![(FOR, "192.0.2.1")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "6.6.6.6, 192.0.2.1")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "6.6.6.6, 10.0.0.7, 192.0.2.1")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1, 10.0.0.7")], "192.0.2.1 < 10.0.0.7 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1,10.0.0.7")], "192.0.2.1 < 10.0.0.7 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1"), (FOR, "10.0.0.7")], "192.0.2.1 < 10.0.0.7 < 10.0.0.9"),
        (vec![(FOR, "10.0.0.5"), (FOR, "10.0.0.7")], "10.0.0.5 < 10.0.0.7 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1, ,")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1:4711")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "::ffff:192.0.2.1")], "192.0.2.1 < 10.0.0.9"),
        (vec![(FOR, "2001:db8::6, 2001:DB8::5")], "2001:db8::6 < 2001:db8::5 < 10.0.0.9"),
        (vec![(FOR, "[2001:db8::6]:80, [2001:db8::5]")], "2001:db8::6 < 2001:db8::5 < 10.0.0.9"),
        // What stands before a word that is none is anybody's.
        (vec![(FOR, "192.0.2.1, unknown")], "10.0.0.9"),
        (vec![(FOR, "192.0.2.1, unknown, 10.0.0.7")], "10.0.0.7 < 10.0.0.9"),
        (vec![(FOR, "192.0.2.1, fe80::1%eth0")], "10.0.0.9"),
        (vec![(FOR, "192.0.2.1 10.0.0.7")], "10.0.0.9"),
        (vec![(FOR, "\"192.0.2.1\"")], "10.0.0.9"),
    ] {
        assert_eq!(found(&chain), wanted, "{chain:?}");
    }
}

#[test]
fn the_standard_says_it_too() {
    const NAME: &str = "forwarded";
    for (values, wanted) in [
        (vec!["for=192.0.2.1"], "192.0.2.1 < 10.0.0.9"),
        (vec!["For=192.0.2.1;Proto=HTTPS;by=10.0.0.9;host=a"], "192.0.2.1 < 10.0.0.9 secure a"),
        (vec!["for=\"192.0.2.1:80\";"], "192.0.2.1 < 10.0.0.9"),
        (vec!["for=\"[2001:db8::6]:80\";host=\"a:80\""], "2001:db8::6 < 10.0.0.9 a:80"),
        (
            vec!["for=192.0.2.1;proto=https;host=a, for=10.0.0.7;host=b"],
            "192.0.2.1 < 10.0.0.7 < 10.0.0.9 secure a",
        ),
        (
            vec!["for=192.0.2.1;proto=https", "for=10.0.0.7"],
            "192.0.2.1 < 10.0.0.7 < 10.0.0.9 secure",
        ),
        (vec!["for=6.6.6.6;proto=https;host=evil, for=192.0.2.1"], "192.0.2.1 < 10.0.0.9"),
        (vec![",, for=192.0.2.1 , "], "192.0.2.1 < 10.0.0.9"),
        (vec!["for=_hidden;proto=https"], "10.0.0.9 secure"),
        (vec!["for=192.0.2.1, for=unknown"], "10.0.0.9"),
        (vec!["for=\"19\\2.0.2.1\""], "192.0.2.1 < 10.0.0.9"),
        // Malformed, in a header of its own or behind what is anybody's.
        (vec!["for=6.6.6.6, for=\"", "for=192.0.2.1"], "192.0.2.1 < 10.0.0.9"),
        (vec!["for=6.6.6.6, x=\", for=192.0.2.1"], "10.0.0.9"),
        (vec!["for=6.6.6.6;x=\", for=192.0.2.1;host=\"a\""], "10.0.0.9"),
        (vec!["for=192.0.2.1;for=6.6.6.6"], "10.0.0.9"),
        (vec!["for=192.0.2.1;host=a;host=b"], "10.0.0.9"),
        (vec!["for=2001:db8::6"], "10.0.0.9"),
        (vec!["for = 192.0.2.1"], "10.0.0.9"),
        (vec!["for"], "10.0.0.9"),
        (vec!["for="], "10.0.0.9"),
        (vec!["=1"], "10.0.0.9"),
        (vec![";"], "10.0.0.9"),
        (vec!["for=\"192.0.2.1\\"], "10.0.0.9"),
        (vec!["for=192.0.2.1;host=\"a/b\";proto=gopher"], "192.0.2.1 < 10.0.0.9"),
    ] {
        let pairs: Vec<_> = values.iter().map(|value| (NAME, *value)).collect();
        assert_eq!(found(&pairs), wanted, "{values:?}");
    }
    let both =
        [("forwarded", "for=6.6.6.6;proto=https;host=evil"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(found(&both), "192.0.2.1 < 10.0.0.9", "anybody may have written the other one");
}

#[test]
fn scheme_and_host_are_those_of_the_client() {
    let of = |chain: &str, proto: &str, host: &str| {
        found(&[
            ("x-forwarded-for", chain),
            ("x-forwarded-proto", proto),
            ("x-forwarded-host", host),
        ])
    };
    for (chain, proto, host, wanted) in [
        ("1.1.1.1", "https", "shop:443", "1.1.1.1 < 10.0.0.9 secure shop:443"),
        ("1.1.1.1", "wss", "shop", "1.1.1.1 < 10.0.0.9 secure shop"),
        ("1.1.1.1", "gopher", "a b", "1.1.1.1 < 10.0.0.9"),
        // Both proxies add, or the first one says it and the second one leaves it.
        ("1.1.1.1, 10.0.0.7", "https, http", "a, b", "1.1.1.1 < 10.0.0.7 < 10.0.0.9 secure a"),
        ("1.1.1.1, 10.0.0.7", "https", "a", "1.1.1.1 < 10.0.0.7 < 10.0.0.9 secure a"),
        // What is longer than the chain is the client's own word.
        ("6.6.6.6, 1.1.1.1", "https, http", "evil, a", "1.1.1.1 < 10.0.0.9 a"),
        ("", "https", "a", "10.0.0.9 secure a"),
    ] {
        assert_eq!(of(chain, proto, host), wanted, "{chain} {proto} {host}");
    }
}

#[test]
fn nobody_else_is_believed() {
    let said = headers(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=6.6.6.6;proto=https"),
    ]);
    for (peer, trusted) in [("11.0.0.1", networks(&["10.0.0.0/8"])), (PEER, Vec::new())] {
        let origin = Origin::of(&said, address(peer), false, &trusted);
        let wanted =
            Origin { client: address(peer), secure: false, host: None, proxies: Vec::new() };
        assert_eq!(origin, wanted);
    }
}

#[test]
fn a_chain_of_trusted_proxies_ends_somewhere() {
    let chain = vec!["10.0.0.1"; 5_000].join(",");
    let origin = believed(&[("x-forwarded-for", &chain)]);
    assert_eq!(origin.proxies.len(), MOST_PROXIES);
}

/// What the endpoint gets of a request for a host.
fn announced(announcements: &Announcements, origin: &Origin, host: &str) -> HeaderMap {
    let host = HeaderValue::from_str(host).unwrap();
    let mut map = headers(&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "6.6.6.6")]);
    map.insert(HOST, host.clone());
    announcements.of(origin, &host, false).write(&mut map);
    map
}

#[test]
fn the_endpoint_is_told_in_both_forms() {
    let kept = Announcements::default();
    for (origin, host, wanted) in [
        (
            Origin::of(&HeaderMap::new(), address("::ffff:192.0.2.1"), false, &[]),
            "shop:80",
            ["192.0.2.1", "shop:80", "http", "for=192.0.2.1;host=\"shop:80\";proto=http"],
        ),
        (
            Origin::of(&HeaderMap::new(), address("192.0.2.1"), false, &[]),
            "other",
            ["192.0.2.1", "other", "http", "for=192.0.2.1;host=other;proto=http"],
        ),
        (
            believed(&[
                ("x-forwarded-for", "2001:db8::6, 10.0.0.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "shop.test"),
            ]),
            "inner",
            [
                "2001:db8::6, 10.0.0.7, 10.0.0.9",
                "shop.test",
                "https",
                "for=\"[2001:db8::6]\";host=shop.test;proto=https, for=10.0.0.7, \
                 for=10.0.0.9;host=inner;proto=http",
            ],
        ),
    ] {
        let map = announced(&kept, &origin, host);
        let names = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"];
        for (name, wanted) in names.into_iter().zip(wanted) {
            let values: Vec<_> = map.get_all(name).iter().collect();
            assert_eq!(values, [wanted], "{name}");
        }
    }
}

prop_compose! {
    /// Text as it comes in chains, and text that does not.
    fn chain()(pieces in prop::collection::vec(prop_oneof![
        any::<IpAddr>().prop_map(|address| address.to_string().into_bytes()),
        Just(b"10.0.0.1".to_vec()),
        "[ ,;=\"\\\\a-z:\\[\\]]{0,6}".prop_map(String::into_bytes),
        Just(b", for=".to_vec()),
        Just(b";proto=https;host=\"a:1\"".to_vec()),
        prop::collection::vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..], 0..6),
    ], 0..12)) -> Vec<u8> {
        pieces.concat()
    }
}

proptest! {
    #[test]
    fn whatever_is_said_is_read_the_same_way_by_whoever_believes_us(
        values in prop::collection::vec((0_usize..4, chain()), 0..4),
        hosted in "[a-z]{1,5}(:[0-9]{1,3})?",
    ) {
        let names = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, FORWARDED];
        let mut said = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                said.append(names[name].clone(), value);
            }
        }
        let everybody = networks(&["0.0.0.0/0", "::/0"]);
        for trusted in [networks(&["10.0.0.0/8"]), everybody.clone()] {
            let origin = Origin::of(&said, address(PEER), false, &trusted);
            prop_assert!(origin.proxies.last().is_none_or(|last| *last == address(PEER)));
            let told = announced(&Announcements::default(), &origin, &hosted);
            // The next proxy believes us and those that we believed.
            let us = address("192.0.2.99");
            let mut next_trusted = trusted.clone();
            next_trusted.push(us.into());
            let mut standard = told.clone();
            for name in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
                standard.remove(name);
            }
            let longest = origin.proxies.len() < MOST_PROXIES;
            for heard in [told, standard] {
                let next = Origin::of(&heard, us, false, &next_trusted);
                let ours = origin.host.clone().unwrap_or(HeaderValue::from_str(&hosted).unwrap());
                if longest {
                    prop_assert_eq!(next.client, origin.client);
                    prop_assert_eq!(next.secure, origin.secure);
                    prop_assert_eq!(next.host, Some(ours));
                    prop_assert_eq!(next.proxies.len(), origin.proxies.len() + 1);
                }
            }
        }
    }

    #[test]
    fn who_is_not_trusted_changes_nothing(said in chain(), peer: IpAddr) {
        let mut map = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&said) {
            map.append(FORWARDED_FOR, value.clone());
            map.append(FORWARDED, value);
        }
        let trusted: Vec<Network> = Vec::new();
        let silent = Origin::of(&HeaderMap::new(), peer, true, &trusted);
        prop_assert_eq!(Origin::of(&map, peer, true, &trusted), silent);
    }
}
