//! The results, as a table for people and as JSON for programs.

use std::{
    fmt, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// How long the machine is observed before the first benchmark.
const LOOK: Duration = Duration::from_millis(500);

/// A figure of the product, and the same figure of its baseline.
#[derive(Debug)]
pub(crate) struct Row {
    /// The benchmark.
    pub(crate) group: &'static str,
    /// What is measured.
    pub(crate) what: String,
    /// The unit.
    pub(crate) unit: &'static str,
    /// The baseline's figure, if there is one.
    pub(crate) baseline: Option<f64>,
    /// The product's figure.
    pub(crate) product: f64,
    /// The goal, if there is one.
    pub(crate) goal: Option<Goal>,
}

/// The goal for a figure or its ratio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this, in the row's unit, on a machine like the one in docs/reference/benchmarks.md.
    Figure(f64),
    /// At most this ratio, on every machine.
    Ratio(f64),
    /// At least this, in the row's unit; as `Figure`.
    FigureMin(f64),
    /// At least this ratio; as `Ratio`.
    RatioMin(f64),
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.product / baseline)
    }

    /// The goal as the table shows it, and whether it is met.
    fn judged(&self) -> Option<(String, bool)> {
        let (sign, bound, figure, unit) = match self.goal? {
            Goal::Figure(most) => ("≤", most, self.product, self.unit),
            Goal::Ratio(most) => ("≤", most, self.ratio()?, "×"),
            Goal::FigureMin(least) => ("≥", least, self.product, self.unit),
            Goal::RatioMin(least) => ("≥", least, self.ratio()?, "×"),
        };
        let met = if sign == "≤" { figure <= bound } else { figure >= bound };
        Some((format!("{sign} {} {unit}", shown(bound)), met))
    }
}

/// All rows so far.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    busy_before: Option<f64>,
}

impl Report {
    /// An empty report. Observes for half a second how busy the machine is.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), busy_before: busy() }
    }

    /// The share of processor time, 0 to 1, that other programs used then.
    pub(crate) fn busy_before(&self) -> Option<f64> {
        self.busy_before
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes machine, versions and figures as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let (goal, met) = row.judged().unzip();
                json!({ "group": row.group, "what": row.what, "unit": row.unit, "baseline": row.baseline,
                        "product": row.product, "ratio": row.ratio(), "goal": goal, "met": met })
            })
            .collect();
        let at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let report = json!({ "at_unix_s": at_s, "busy_before": self.busy_before, "machine": machine(), "versions": versions(), "rows": rows });
        Ok(fs::write(file, format!("{report:#}\n"))?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or_default();
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                writeln!(
                    f,
                    "\n{group:<width$}  {:>12}  {:>12}  {:<4}  {:>7}  goal",
                    "baseline", "patchbay", "", "ratio"
                )?;
            }
            let baseline = row.baseline.map_or_else(|| "-".to_owned(), shown);
            let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let product = shown(row.product);
            let goal = row.judged().map(|(goal, met)| format!("  {goal}{}", if met { "" } else { " (missed)" }));
            let goal = goal.unwrap_or_default();
            writeln!(f, "{:<width$}  {baseline:>12}  {product:>12}  {:<4}  {ratio:>7}{goal}", row.what, row.unit)?;
        }
        Ok(())
    }
}

/// The figure with three significant digits, or all digits before the point.
fn shown(figure: f64) -> String {
    let digits = match figure.abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.digits$}")
}

/// The median; the upper one of an even number of values. 0 without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of all values lies. 0 without values.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, from 0 to the length")]
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "processor": model, "cores": cores, "kernel": kernel.trim() })
}

/// The share of processor time, 0 to 1, that other programs use during the observation. `None` if /proc does not say.
fn busy() -> Option<f64> {
    let now = || -> Option<(f64, f64)> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        // user, nice, system, idle, iowait, …, in ticks of all cores since the start.
        let ticks =
            stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(|ticks| ticks.parse::<f64>().ok());
        let ticks = ticks.collect::<Option<Vec<_>>>()?;
        Some((ticks.iter().sum(), ticks.get(3)? + ticks.get(4)?))
    };
    let (all_before, idle_before) = now()?;
    thread::sleep(LOOK);
    let (all, idle) = now()?;
    Some(1.0 - (idle - idle_before) / (all - all_before))
}

fn versions() -> Value {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().next().map(str::to_owned)
    };
    json!({
        "patchbay": env!("CARGO_PKG_VERSION"),
        "commit": Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        "rustc": first_line("rustc", "--version"),
        "wrk": first_line("wrk", "--version"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_and_ends() {
        for (values, part, expected) in [
            (vec![], 0.5, 0.0),
            (vec![3.0], 0.5, 3.0),
            (vec![3.0, 1.0, 2.0], 0.5, 2.0),
            (vec![2.0, 1.0], 0.5, 2.0),
            ((1..=100).map(f64::from).collect(), 0.99, 100.0),
            (vec![1.0, 2.0], 1.0, 2.0),
        ] {
            assert_eq!(quantile(values.clone(), part), expected, "{values:?} {part}");
        }
    }

    #[test]
    fn a_table_shows_groups_figures_ratios_and_goals() {
        let mut report = Report::new();
        let row =
            |baseline, product, goal| Row { group: "g", what: "calls".to_owned(), unit: "ns", baseline, product, goal };
        for (baseline, product, goal, expected) in [
            (Some(1000.0), 512.4, None, "calls 1000 512 ns 0.51"),
            (None, 9.876, None, "calls - 9.88 ns -"),
            (Some(10.0), 11.0, Some(Goal::Ratio(1.1)), "calls 10.0 11.0 ns 1.10 ≤ 1.10 ×"),
            (Some(10.0), 11.1, Some(Goal::Ratio(1.1)), "calls 10.0 11.1 ns 1.11 ≤ 1.10 × (missed)"),
            (None, 250.0, Some(Goal::Figure(250.0)), "calls - 250 ns - ≤ 250 ns"),
            (None, 251.0, Some(Goal::Figure(250.0)), "calls - 251 ns - ≤ 250 ns (missed)"),
            (None, 250.0, Some(Goal::FigureMin(250.0)), "calls - 250 ns - ≥ 250 ns"),
            (None, 249.0, Some(Goal::FigureMin(250.0)), "calls - 249 ns - ≥ 250 ns (missed)"),
            (Some(10.0), 9.0, Some(Goal::RatioMin(0.9)), "calls 10.0 9.00 ns 0.90 ≥ 0.90 ×"),
            (Some(10.0), 8.9, Some(Goal::RatioMin(0.9)), "calls 10.0 8.90 ns 0.89 ≥ 0.90 × (missed)"),
        ] {
            report.rows = vec![row(baseline, product, goal)];
            let table = report.to_string();
            let lines: Vec<_> =
                table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            assert_eq!(lines, ["", "g baseline patchbay ratio goal", expected]);
        }
    }
}
