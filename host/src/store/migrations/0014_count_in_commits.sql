-- What is accepted the host counts itself, once for each tenant in a commit. Dead letters that are put back count themselves.
DROP TRIGGER jobs_count_new;
