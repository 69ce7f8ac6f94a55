-- Counts anew what each tenant has in the history.
DELETE FROM history_usage;
INSERT INTO history_usage (tenant, incarnation, tickets, notes, bytes)
SELECT tenant, incarnation, sum(ticket), sum(note), sum(bytes)
FROM (SELECT tenant, incarnation, 1 AS ticket, 0 AS note,
             coalesce(octet_length(subject), 0) + coalesce(octet_length(description), 0)
             + coalesce(octet_length(resolution), 0) + octet_length(tags) AS bytes
      FROM ticket_history
      UNION ALL
      SELECT tenant, incarnation, 0, 1, coalesce(octet_length(note), 0) + octet_length(errors) FROM enhancement_history)
GROUP BY tenant, incarnation;
