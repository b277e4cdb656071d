"""Every limit of the system, in one file, each with its reason. Nothing here is unbounded by accident."""

from typing import Final

# What a client may send.
BODY_BYTES: Final = 256 * 1024  # an intent is a request for effects, not a document store
FORM_FIELDS: Final = 32  # OAuth knows about a dozen
JSON_DEPTH: Final = 32  # deeper values serve only to exhaust a parser
INTEGER_MAX: Final = 2**53  # beyond it JSON readers disagree on the value
ACTIONS_PER_INTENT: Final = 16  # all-or-nothing over more systems than that is a plan, not an intent
IDEMPOTENCY_KEY_LENGTH: Final = 255  # the header draft's and the payment industry's usual bound
NAME_LENGTH: Final = 128  # tasks, action ids, agent names
REASON_LENGTH: Final = 2_000  # a person reads it
DEADLINE_SECONDS_DEFAULT: Final = 30
DEADLINE_SECONDS_MAX: Final = 300  # how long holds may wait for one another
WAIT_SECONDS_MAX: Final = 30  # below the idle time-outs of usual proxies
PAGE_LIMIT_DEFAULT: Final = 50
PAGE_LIMIT_MAX: Final = 500  # one page is built in memory

# What authority takes on.
GRANT_DEPTH: Final = 8  # a chain of custody that a person can still read
GRANT_OPERATIONS: Final = 64  # permissions of one grant
GRANT_LIMITS: Final = 16  # every decision below charges each of them
GRANT_VALUES: Final = 100  # of one parameter's constraint
GRANT_SECONDS_MAX: Final = 10 * 366 * 86_400
OAUTH_SECONDS: Final = 3_600  # of a token whose client asked for no lifetime: what OAuth clients are used to
POLICY_BYTES: Final = 128 * 1024  # of Cedar; about a thousand policies
POLICIES_MAX: Final = 500
POLICY_DEPTH: Final = 32  # brackets in brackets; Cedar's parser overflows the stack at several hundred
POLICY_OPERATORS: Final = 300  # of one policy; a chain of them nests too, and overflows it past eight hundred
POLICY_DESCRIPTION_LENGTH: Final = 200  # it stands in the reasons of a decision
POLICY_FAULTS: Final = 20  # named at once; an author corrects these first
REHEARSAL_DIFFERENCES: Final = 100  # shown; all are counted
POLICY_SETS_KEPT: Final = 32  # parsed; the active one, and some that are tried
DECISION_REASONS: Final = 16  # more would not be read
DECISION_REASON_LENGTH: Final = 500
REHEARSAL_DEFAULT: Final = 1_000  # past verdicts that a candidate policy set is tried on
REHEARSAL_MAX: Final = 10_000  # about two seconds of Python, given up a slice at a time
REHEARSAL_BYTES: Final = 64 * 1024 * 1024  # of them at once, as JSON; some of an intent's size is an agent's to choose
APPROVERS_MAX: Final = 20
QUORUM_MAX: Final = 10
DUPLICATE_SECONDS: Final = 3_600  # how long the same actions under the same task count as a possible repetition
TASK_SCOPE: Final = 64
TASK_CRITERIA: Final = 16
TASK_FAILURE_MODES: Final = 16
TOKEN_REFUSAL_SECONDS: Final = 60.0  # between two records of the same kind of refusal
TOKEN_REFUSALS_KEPT: Final = 1_000  # kinds of refusal counted at once
OUTCOME_ATTEMPTS: Final = 5  # of asking whether a task is done, before it is recorded that nobody could tell

# What an outside system may answer.
ANSWER_BYTES: Final = 64 * 1024  # a result is a confirmation, stored for ever
PREVIEW_BYTES: Final = 64 * 1024
ERROR_LENGTH: Final = 500  # of an outside system's words, after which we stop listening
MCP_MESSAGE_BYTES: Final = 1024 * 1024  # one message of an MCP server; its list of tools is the longest
ANSWER_ROWS: Final = 100  # of one statement; who needs more wants a report, not a confirmation

# What is said about an action.
PARAM_FAULTS: Final = 20  # named at once; an agent corrects these first
SUMMARY_LENGTH: Final = 300  # one line that a person takes in at a glance
SUMMARY_VALUE_LENGTH: Final = 64  # of one parameter in it

# Personal data.
SUBJECT_LENGTH: Final = 256  # of the name of a data subject: an address of mail is one, and it stands in a URL
ECHO_LENGTH: Final = 3  # a shorter personal value is not looked for within other texts: it would be found by chance,
ECHO_BYTES: Final = 6  # … unless it is as long as this in UTF-8: two letters of an East Asian script are a whole name
ECHO_LENGTH_MAX: Final = 512  # and a longer one is nothing that others repeat word by word
ECHOES: Final = 64  # values of one intent that are looked for in what is said about it
SEALED_BYTES: Final = 4 * BODY_BYTES  # of a new intent: each value in it, sealed, is longer by a hundred characters
NAMED_LENGTH: Final = 6  # a personal value from which on names (idempotency keys, tasks) that contain it are refused

# What one process takes on.
INTENTS_IN_FLIGHT: Final = 2_000  # beyond it POST answers 503 before acceptance
APPENDS_QUEUED: Final = 10_000
BATCH_ITEMS: Final = 256  # past about a hundred items a batch gains nothing more
BATCH_BYTES: Final = 4 * 1024 * 1024
STREAM_EVENTS: Final = 100_000  # at least 17 days of retries for one action, one for 16; more are not read
STREAM_EVENTS_ASKED: Final = 90_000  # beyond it a person is asked, once, while the intent can still be worked

# Undo plans.
UNDO_PLAN_INTENTS: Final = 2_000  # listed in one plan; a person who undoes more does it by the hour
UNDO_PLAN_BYTES: Final = 16 * 1024 * 1024  # of them; some of an intent's size is an agent's to choose
UNDO_LISTED: Final = 50  # intents in one event of a plan
UNDO_PREVIEW_BYTES: Final = 2 * 1024  # of one effect in a plan; longer ones are in the intent
UNDO_AT_ONCE: Final = 16  # intents of one plan under way at an adapter: what agents do meanwhile must not wait for it
UNDO_RECORDED: Final = 50  # intents that came to rest, kept until they are recorded together,
UNDO_RECORD_SECONDS: Final = 1.0  # and for how long

# Moving a ledger in a file.
MOVE_EVENTS: Final = 5_000  # held at once: some megabytes
EXPORT_LINE_BYTES: Final = 64 * 1024 * 1024  # the plan of a large undoing is the longest event
MOVE_SECONDS: Final = 600.0  # for so many of them to be copied, however slow the disk is

# Reconciliation with the outside.
RECONCILE_INTENTS: Final = 100_000  # looked at in one pass; some 100 MB of what they touched
RECONCILE_CALLS_PER_SECOND: Final = 5.0  # asked of outside systems that have other work
RECONCILE_WINDOW_SECONDS: Final = 7 * 86_400.0  # older effects are asked about only while they are known to diverge
RECONCILE_VIEW_SECONDS: Final = 300.0  # for the views to come as far as the ledger is; a first replay takes long
RECONCILE_CALL_SECONDS: Final = 60.0  # in which a call must have left; no lease stands behind it

# Retry and lease.
LEASE_SECONDS: Final = 15.0  # how long a dead process delays its intents
CLAIM_POLL_SECONDS: Final = 0.25  # how late a due intent may be noticed
CLAIMS_AT_ONCE: Final = 100
RETRY_BASE_SECONDS: Final = 0.2
RETRY_CAP_SECONDS: Final = 30.0  # how long after its return an outside system waits to be asked again
ONE_SHOT_ATTEMPTS: Final = 8  # after that many certain failures a one-shot action has failed for good
INQUIRY_ATTEMPTS: Final = 8  # after that many inquiries without an answer a person is asked
APPROVAL_SECONDS: Final = 24 * 3600.0  # how long a person has; a shorter hold shortens it
CALL_SECONDS: Final = 10.0  # an adapter call without an answer by then is in doubt
CALLS_PER_ADAPTER: Final = 256  # at once
CALLS_WAITING_PER_ADAPTER: Final = 256  # one that hangs must not fill INTENTS_IN_FLIGHT with its waiters
BUSY_SECONDS: Final = 1.0  # after which an intent looks again whether a busy adapter has a place
CIRCUIT_SILENCES: Final = 5  # calls in a row without an answer; fewer may be a switch that changes over
CIRCUIT_BASE_SECONDS: Final = 1.0  # how long nothing is sent to a system that was silent; doubled by each vain try
CIRCUIT_CAP_SECONDS: Final = 10.0  # below RETRY_CAP_SECONDS, within which what waits must be tried after its return
CIRCUIT_TRIES: Final = 2  # at once while a circuit is half open; one could be the one call that hangs
LOOKS_PER_SECOND: Final = 100  # of intents that wait for one adapter: some 4 % of a core, however many wait
ANSWERS_IN_VAIN: Final = 1_000  # to one repeated call, none of which settles it: six hours, then a person is asked

# What we wait for PostgreSQL.
CONNECT_SECONDS: Final = 5.0
ACQUIRE_SECONDS: Final = 5.0  # a request that waits longer for a connection is better refused
STATEMENT_SECONDS: Final = 10.0  # our statements take milliseconds; one that takes this long is stuck
COMMAND_SECONDS: Final = 15.0  # above STATEMENT_SECONDS, so that the server speaks first while it can
AWAY_SECONDS: Final = 5.0  # a database gone for longer makes appends unknown, and new ones are refused at once
MIGRATION_LOCK_SECONDS: Final = 60.0
FOLLOW_SECONDS: Final = 0.25  # how late events of other processes reach a follower at most

# What the door takes on.
REQUESTS_IN_PROGRESS: Final = 4_000  # at once, waiting ones included; beyond it 503 before anything is read
CONNECTIONS_OPEN: Final = (
    8_000  # below the usual limit of file descriptors once it is raised; beyond it they are closed
)
FOLLOWERS_LIVE: Final = 64  # clients that follow the feed, each at the price of a reader
REQUEST_LINE_BYTES: Final = 8 * 1024  # and each header; what a browser or proxy would cut off as well
REQUEST_HEADERS: Final = 64
HEADER_SECONDS: Final = 75.0  # for the first byte to the end of the headers, and for idle connections
BODY_SECONDS: Final = 20.0  # for a body of BODY_BYTES; slower is an attack or a dead link
WRITE_SECONDS: Final = 30.0  # how long a reader of a stream may take nothing
HEARTBEAT_SECONDS: Final = 15.0  # of a followed feed without events, below the idle time-outs of usual proxies
RETRY_AFTER_SECONDS: Final = 1  # what clients are told when we cannot take more
READY_SECONDS: Final = 2.0  # how long /readyz waits for the database
READY_FRESH_SECONDS: Final = 0.5  # for how long its answer stands, so that asking costs nothing
POOL_CONNECTIONS: Final = 13  # two of them append, one keeps the log; the others read, and are held for milliseconds
DRAIN_SECONDS: Final = 20.0  # for what runs to come to rest after SIGTERM, below the usual 30 before SIGKILL
VIEW_SECONDS: Final = 10.0  # how long ?min_position= waits for a view

# What people are told by webhooks.
WEBHOOK_KEY_BYTES: Final = 24  # Standard Webhooks: 192 bits at least,
WEBHOOK_KEY_BYTES_MAX: Final = 64  # and no more than a block of SHA-256
WEBHOOK_KEYS: Final = 2  # the one in force, and the one that replaces it
WEBHOOK_SECONDS: Final = 10.0  # for one message; Standard Webhooks says 15 to 30, and a person may be waiting
WEBHOOK_LEASE_SECONDS: Final = 30.0  # above WEBHOOK_SECONDS; how long a dead sender delays its messages
WEBHOOK_POLL_SECONDS: Final = 0.5  # how late a message may be noticed
WEBHOOKS_AT_ONCE: Final = 8  # to one receiver
WEBHOOK_RETRY_BASE_SECONDS: Final = 2.0
WEBHOOK_RETRY_CAP_SECONDS: Final = 3_600.0
WEBHOOK_AGE_SECONDS: Final = 7 * 86_400.0  # an older message would tell of what nobody waits for any more
WEBHOOK_DRAIN_SECONDS: Final = 2.0  # for messages under way at the end; what is cut off is sent again

# What people's commands take on.
CLIENT_SECONDS: Final = 60.0  # for one request; a rehearsal of policies reads much of the past
CLIENT_ANSWER_BYTES: Final = 64 * 1024 * 1024  # the events of the longest intent
SHEET_VALUE_LENGTH: Final = 300  # of one value that a person is asked to approve, unless they ask for all of it

# What views take on, in the same process as the hot path.
PAGE_EVENTS: Final = 20_000  # folded for one page of intents, some 50 ms of Python; a page of poison intents is shorter
AUDIT_SEGMENTS: Final = 512  # searched for one page: 17 million events, some 50 ms where nothing at all is found
AUDIT_PAGE_BYTES: Final = 8 * 1024 * 1024  # of facts and answers of outside systems on one page; else it is shorter
CUSTODIES_KEPT: Final = 20_000  # custody chains of streams, for the feed; some 200 bytes each
VIEW_BATCH_EVENTS: Final = 4_000  # one batch of a follower: the more, the fewer rows are written twice
VIEW_SLICE_EVENTS: Final = 500  # folded between two looks at the event loop, about a millisecond
VIEW_GATHER_SECONDS: Final = 0.1  # how long news wait for more news; a view is behind by that much
VIEW_PAUSE_RATIO: Final = 1.0  # pause for each second of a batch while the event loop is busy: about a sixth of a core
VIEW_PAUSE_SECONDS_MAX: Final = 1.0
VIEW_BUSY_SECONDS: Final = 0.0005  # a turn of the event loop that takes longer says that others need it
VIEW_RETRY_SECONDS: Final = 1.0  # between attempts of a view that cannot go on
VIEW_DIGEST_RATIO: Final = 50.0  # a digest stands for that many times the seconds it took: at most 2 % of a core
REPLAY_BATCH_EVENTS: Final = 10_000
REPLAY_ROWS_KEPT: Final = 20_000  # of each view, in memory while it is rebuilt: some 30 MB of the widest
REPLAY_SUBJECTS_OPEN: Final = 1_000  # of a view folded across them, meanwhile: some 20 KB each
REPLAY_APART_EVENTS: Final = 50_000  # from here on a replay is worth a process for each core,
REPLAY_PROCESSES: Final = 4  # so many at most: they have some 200 MB each, and two connections
REPLAY_SWAP_SECONDS: Final = 3_600.0  # for one statement over a whole view, in which every row may have changed

# What proofs and witnesses take on.
VERIFY_PAGE_EVENTS: Final = 64 * 256  # whole tiles; some 10 MB
VERIFY_SECONDS: Final = 3_600  # for one statement over a whole ledger
RECEIPT_EVENTS: Final = 2_000  # some 5 MB, made in a second; an intent that has more was retried for days
RECEIPT_CHECKPOINTS: Final = 120  # among which the best signed is looked for: about two minutes of them
RECEIPT_BYTES: Final = 32 * 1024 * 1024
PROOF_HASHES: Final = 63  # C2SP tlog-witness; a tree of 2^63 leaves needs no more
WITNESS_BODY_BYTES: Final = 144 * 1024  # 63 hashes and the longest checkpoint that is read
WITNESS_BODY_SECONDS: Final = 10.0  # a log sends it in one piece
WITNESS_TEXT_BYTES: Final = 16 * 1024  # of a checkpoint; what is kept needs room for signatures below it

# What the timeline and telemetry take on.
NOTES_PER_INTENT: Final = 1_000  # what an agent says of one intent; more is a log, and belongs into one
NOTE_TEXT_LENGTH: Final = 4_000
NOTE_DATA_BYTES: Final = 16 * 1024
PATH_STEPS: Final = 200  # of one intent's path; one that goes round in circles longer says no more
RUN_INTENTS: Final = 50  # of one run, shown and compared
PATHS_INTENTS: Final = 5_000  # grouped by path at once, the newest ones; some 50 ms
COMPARED_VALUES: Final = 50  # that differ between two runs
EXPORT_BATCH_EVENTS: Final = 2_000  # looked at by the exporter of spans in one go
EXPORT_SPANS: Final = 128  # sent at once; encoding them keeps others waiting for some 10 ms at most
EXPORT_LEASE_SECONDS: Final = 30.0  # above EXPORT_SECONDS; how long a dead exporter delays spans
EXPORT_SECONDS: Final = 10.0  # for one request to a collector, OpenTelemetry's default
EXPORT_PAUSE_SECONDS: Final = 1.0  # between two batches while little happens; spans are behind by that much
EXPORT_RETRY_SECONDS: Final = 5.0  # between attempts to reach one
CENSUS_SECONDS: Final = 5.0  # between two counts of what waits in a ledger, for metrics

# What the log of a ledger takes on.
LOG_SECONDS: Final = 0.5  # from when an event is noticed to its checkpoint: half of the second that is promised
LOG_EVENTS: Final = 750  # noticed; those that come while they are hashed and stored belong to the promised thousand
LOG_POLL_SECONDS: Final = 0.05  # between looks at the head while events come, at most
LOG_IDLE_SECONDS: Final = 0.07  # while none come; of 9,000 a second, fewer than LOG_EVENTS come in it
LOG_THIN_SECONDS: Final = 60.0  # between two thinnings of old checkpoints, 10,000 at most (032_thin_log.sql)
LOG_STEP_EVENTS: Final = 10_000  # hashed for one checkpoint while the log is behind, some 30 ms of Python
LOG_SLICE_EVENTS: Final = 250  # hashed between two looks at the event loop, under a millisecond
LOG_REHASHED_EVENTS: Final = 10_000  # compared with the log at each start; `intentledger verify` compares all of them
LOG_RETRY_SECONDS: Final = 1.0  # between attempts to publish a checkpoint at a place that is away,
LOG_RETRY_CAP_SECONDS: Final = 60.0  # and at most
LOG_PLACE_SECONDS: Final = 10.0  # for one checkpoint at one place
LOG_WITNESS_SECONDS: Final = 1.0  # between two checkpoints for the same witness, which may be somebody else's machine
LOG_ASK_SECONDS: Final = 2.0  # for what a place outside knows, at start-up; one that is away delays it no longer
LOG_STOP_SECONDS: Final = 2.0  # for the last checkpoint of a process that ends, and again for publishing it
LOG_LATE_SECONDS: Final = 10.0  # without a checkpoint, until it is said at /readyz
LOG_WITNESSES: Final = 16
LOG_KEYS: Final = 16  # that sign side by side; each adds a line to every checkpoint

# What the watch over behaviour takes for granted. Changing one of these, or the model, raises the revision of the view.
BEHAVIOUR_COUNT_MIN: Final = 10  # fewer in a window are never odd: somebody tries something out
BEHAVIOUR_QUIET_MINUTES: Final = 60  # what goes on is told once an hour
# For whom nobody knows yet, in 1, 5, 15, 60 minutes: 10,000 an hour is told within a minute, a nightly batch of 1,000
# spread over some minutes is not.
BEHAVIOUR_CAPS: Final = (120, 600, 1_200, 2_400)
BEHAVIOUR_DENIED_CAPS: Final = (10, 15, 20, 30)  # the same for attempts that were denied
BEHAVIOUR_AMOUNTS_MIN: Final = 30  # amounts, before any of them can be odd
BEHAVIOUR_USES_MIN: Final = 200  # actions of an agent, before its first use of an operation is odd,
BEHAVIOUR_AGE_MINUTES: Final = 7 * 1_440  # and how long it has been known by then
BEHAVIOUR_ROLE_USES: Final = 20  # of an operation by others of the same role, which make it ordinary
BEHAVIOUR_TARGETS: Final = 32  # who reaches more of them with an operation reaches anybody
BEHAVIOUR_TARGET_USES: Final = 300  # in a row without a new target, before one is odd,
BEHAVIOUR_USES_OF_TARGET: Final = 20  # and so many for each known one: a rare one may not have come yet
BEHAVIOUR_READING_SECONDS: Final = (2, 1)  # nobody reads a question in less, and so much more for each action in it
BEHAVIOUR_FAST_ANSWERS: Final = 3  # of the last 10, before it is odd: a person may have seen one before
BEHAVIOUR_GRANTS: Final = 8  # under which an agent acted lately, named in an anomaly
BEHAVIOUR_FINDINGS: Final = 32  # kept of an agent and operation; those of more than a day
BEHAVIOUR_WATCH_SECONDS: Final = 0.2  # between two looks at what was found
BEHAVIOUR_FRESH_SECONDS: Final = 86_400  # what was found longer ago was history when the watch began: told to nobody
BEHAVIOUR_STANDING: Final = 1_000  # anomalies that stand at once, as policy sees them; the newest ones
