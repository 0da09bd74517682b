//! What one client may have at once: no client takes the places of all.

use super::*;

fn somebody(role: Role, name: &str) -> Owner {
    Owner::of(Identity { role, name: name.into() })
}

fn submit_one(jobs: &Jobs, owner: &Owner) -> Result<JobId> {
    let submission = waiting_of(jobs, owner);
    submit(jobs, &submission, owner).map(|()| submission.id)
}

#[tokio::test]
async fn a_client_has_so_many_jobs_of_which_so_many_run_and_others_have_theirs() {
    let settings =
        Settings { max_jobs_per_client: 3, max_running_jobs_per_client: 1, ..Settings::default() };
    let jobs = jobs(settings);
    let [alice, bob] = ["alice", "bob"].map(|name| somebody(Role::Client, name));
    let first = submit_one(&jobs, &alice).unwrap();
    for _ in 0..2 {
        submit_one(&jobs, &alice).unwrap();
    }
    // Over another connection it is the same client.
    let refused = submit_one(&jobs, &somebody(Role::Client, "alice")).unwrap_err();
    let message = "3 jobs of client 'alice' are under way or wait to be read, and \
                   max_jobs_per_client = 3 on the coordinator; read or cancel some, or raise it";
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::ResourceExhausted, message));
    submit_one(&jobs, &bob).unwrap();
    // One of each runs.
    assert_eq!(jobs.states(), [2, 2, 0]);

    jobs.cancel(first, &alice).unwrap();
    submit_one(&jobs, &alice).unwrap();
    submit_one(&jobs, &alice).unwrap_err();

    let olga = somebody(Role::Operator, "olga");
    for owner in [&olga, &Owner::default()] {
        for _ in 0..4 {
            submit_one(&jobs, owner).unwrap();
        }
    }
}
