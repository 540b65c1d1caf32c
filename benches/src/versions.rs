/// The versions of the packages of these names, as they were locked when this was built.
pub(crate) fn versions(names: &[&str]) -> Vec<(String, String)> {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &&str| {
        let package =
            lock.split("[[package]]").find(|text| text.contains(&format!("\nname = \"{name}\"\n")))?;
        let line = package.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(((*name).to_owned(), line.trim_matches('"').to_owned()))
    };
    names.iter().filter_map(version).collect()
}
