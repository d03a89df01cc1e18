// The status page: asks the hub how it is and says so.
const status = document.getElementById("status");
const answer = await fetch("/health");
const health = await answer.json();
status.textContent = `The hub is ${health.status === "ok" ? "well" : "in trouble"} (version ${health.version}).`;
