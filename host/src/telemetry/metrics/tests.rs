//! What each method adds to the text that is scraped.

use super::*;

/// The samples of `metrics`, without histogram buckets, comments and zeros.
fn samples(metrics: &Metrics) -> Vec<String> {
    let text = metrics.encode();
    let keep = |line: &&str| {
        !line.starts_with('#') && !line.contains("_bucket{") && !line.ends_with(" 0") && !line.ends_with(" 0.0")
    };
    let mut lines: Vec<_> = text.lines().filter(keep).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn each_method_has_its_metric() {
    let metrics = Metrics::new();
    let ms = Duration::from_millis;
    let acme = metrics.plugin(&ToolType::parse("acme_desk").unwrap());
    metrics.http("/webhooks/{tenant_id}", 202, ms(500));
    let (_open, _queued) = (metrics.connection(), acme.queued(LaneKind::Fast));
    let _running = acme.in_flight(LaneKind::Slow);
    acme.call(Method::GetTicket, CallOutcome::NotFound, ms(250));
    acme.call(Method::New, CallOutcome::Panicked, ms(125));
    acme.saturated(Method::ValidateWebhook);
    acme.stuck_call();
    acme.over_budget(Method::ExtractMetadata);
    metrics.set_generations([(ToolType::parse("acme_desk").unwrap(), GenerationState::Active, 1)]);
    metrics.set_queue(3, 1, ms(1_500));
    metrics.reload(ReloadOutcome::Refused);
    metrics.attempt(AttemptOutcome::Retry);
    metrics.dead_letter("not_found");
    metrics.note_posted();
    metrics.store_commit(ms(250), 128);
    let expected = [
        r#"patchbay_build_info{version="0.1.0"} 1"#,
        r#"patchbay_dead_letters_total{reason="not_found"} 1"#,
        "patchbay_http_connections_open 1",
        r#"patchbay_http_request_duration_seconds_count{route="/webhooks/{tenant_id}"} 1"#,
        r#"patchbay_http_request_duration_seconds_sum{route="/webhooks/{tenant_id}"} 0.5"#,
        r#"patchbay_http_requests_total{route="/webhooks/{tenant_id}",code="202"} 1"#,
        r#"patchbay_job_attempts_total{outcome="retry"} 1"#,
        "patchbay_notes_posted_total 1",
        r#"patchbay_plugin_call_duration_seconds_count{tool_type="acme_desk",method="get_ticket"} 1"#,
        r#"patchbay_plugin_call_duration_seconds_count{tool_type="acme_desk",method="new"} 1"#,
        r#"patchbay_plugin_call_duration_seconds_sum{tool_type="acme_desk",method="get_ticket"} 0.25"#,
        r#"patchbay_plugin_call_duration_seconds_sum{tool_type="acme_desk",method="new"} 0.125"#,
        r#"patchbay_plugin_calls_over_budget_total{tool_type="acme_desk",method="extract_metadata"} 1"#,
        r#"patchbay_plugin_calls_total{tool_type="acme_desk",method="get_ticket",outcome="not_found"} 1"#,
        r#"patchbay_plugin_calls_total{tool_type="acme_desk",method="new",outcome="panicked"} 1"#,
        r#"patchbay_plugin_calls_total{tool_type="acme_desk",method="validate_webhook",outcome="saturated"} 1"#,
        r#"patchbay_plugin_generations{tool_type="acme_desk",state="active"} 1"#,
        r#"patchbay_plugin_lane_in_flight{tool_type="acme_desk",lane="slow"} 1"#,
        r#"patchbay_plugin_lane_queue_length{tool_type="acme_desk",lane="fast"} 1"#,
        r#"patchbay_plugin_panics_total{tool_type="acme_desk"} 1"#,
        r#"patchbay_plugin_reloads_total{outcome="refused"} 1"#,
        r#"patchbay_plugin_stuck_calls_total{tool_type="acme_desk"} 1"#,
        r#"patchbay_queue_jobs{state="dead"} 1"#,
        r#"patchbay_queue_jobs{state="live"} 3"#,
        "patchbay_queue_oldest_age_seconds 1.5",
        "patchbay_store_commit_duration_seconds_count 1",
        "patchbay_store_commit_duration_seconds_sum 0.25",
        "patchbay_store_commit_operations_count 1",
        "patchbay_store_commit_operations_sum 128.0",
    ];
    assert_eq!(samples(&metrics), expected);
}

#[test]
fn what_is_counted_while_it_lives_is_gone_afterwards() {
    let metrics = Metrics::new();
    let acme = ToolType::parse("acme_desk").unwrap();
    drop(metrics.connection());
    drop(metrics.plugin(&acme).queued(LaneKind::Slow));
    metrics.set_generations([(acme, GenerationState::Draining, 2)]);
    metrics.set_generations([]);
    assert_eq!(samples(&metrics), [r#"patchbay_build_info{version="0.1.0"} 1"#]);
}

#[test]
fn generations_of_one_tool_type_count_together() {
    let metrics = Metrics::new();
    let acme = ToolType::parse("acme_desk").unwrap();
    for _ in 0..2 {
        metrics.plugin(&acme).call(Method::UpdateTicket, CallOutcome::Ok, Duration::ZERO);
    }
    let expected =
        r#"patchbay_plugin_calls_total{tool_type="acme_desk",method="update_ticket",outcome="ok"} 2"#.to_owned();
    assert!(samples(&metrics).contains(&expected), "{}", metrics.encode());
}

#[test]
fn the_text_is_complete_open_metrics() {
    let text = Metrics::new().encode();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# UNIT patchbay_store_commit_duration_seconds seconds\n"), "{text}");
}
