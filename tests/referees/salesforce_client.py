"""simple-salesforce drives the Salesforce sandbox: create, read, update, upsert, collections, query, paging, bulk, errors."""

import sys

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceResourceNotFound

url, token = sys.argv[1], sys.argv[2]
host = url.removeprefix("http://")
checks = 0


def check(what, holds):
    global checks
    if not holds:
        raise SystemExit(f"simple-salesforce: {what}")
    checks += 1


class ToHttp(HTTPAdapter):
    """The library builds https addresses only; the sandbox speaks plain http."""

    def send(self, request, **options):
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **options)


session = requests.Session()
session.mount(f"https://{host}", ToHttp())
sf = Salesforce(instance_url=url, session_id=token, version="68.0", session=session)

made = sf.Account.create({"Name": "Referee"})
check("a create tells its id", made["success"] and len(made["id"]) == 18)
account = made["id"]
check("a read shows the name", sf.Account.get(account)["Name"] == "Referee")
check("an update answers 204", sf.Account.update(account, {"Phone": "+49 30 1"}) == 204)
check("an upsert of a new key answers 201", sf.Account.upsert("Perennial_Account_Id__c/ref-1", {"Name": "Keyed"}) == 201)
check("an upsert of a known key answers 200", sf.Account.upsert("Perennial_Account_Id__c/ref-1", {"Name": "Keyed 2"}) == 200)
check("a record is found by its key", sf.Account.get_by_custom_id("Perennial_Account_Id__c", "ref-1")["Name"] == "Keyed 2")

rows = [{"attributes": {"type": "Contact"}, "LastName": f"Person {n}", "AccountId": account} for n in range(200)]
done = sf.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": rows})
check("200 records go in one request", len(done) == 200 and all(row["success"] for row in done))
bad = sf.restful(
    "composite/sobjects",
    method="POST",
    json={"records": [{"attributes": {"type": "Contact"}}, {"attributes": {"type": "Contact"}, "LastName": "Good"}]},
)
check("each record of a collection has its own result", [row["success"] for row in bad] == [False, True])
check("a row names its code", bad[0]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING")

bulk = sf.bulk2.Contact.insert(records=[{"LastName": f"Bulk {n}", "AccountId": account} for n in range(2_500)])
check("a bulk job takes 2,500 rows", sum(int(job["numberRecordsProcessed"]) for job in bulk) == 2_500)
check("and none of them fails", sum(int(job["numberRecordsFailed"]) for job in bulk) == 0)

page = sf.query("SELECT Id FROM Contact ORDER BY LastName")
check("the limit header is understood", sf.api_usage["api-usage"].used > 0)
check("a long result is not done", not page["done"] and len(page["records"]) == 2_000)
everything = sf.query_all("SELECT Id, Account.Name FROM Contact")
check("all pages together are complete", len(everything["records"]) == everything["totalSize"] == 2_701)
check("a parent's field is nested", everything["records"][0]["Account"]["Name"] == "Referee")
check("count() counts", sf.query("SELECT COUNT() FROM Contact")["totalSize"] == 2_701)
grouped = sf.query("SELECT AccountId, COUNT(Id) FROM Contact GROUP BY AccountId")
check("groups are counted", any(row["expr0"] == 2_700 for row in grouped["records"]))
read = list(sf.bulk2.Contact.query("SELECT Id, LastName FROM Contact", max_records=1_000))
check("bulk results come in pages", len(read) == 3)

fields = {field["name"]: field for field in sf.Account.describe()["fields"]}
check("describe has 57 keys a field", all(len(field) == 57 for field in fields.values()))

from datetime import datetime, timedelta, timezone

now = datetime.now(timezone.utc)
changed = sf.Account.updated(now - timedelta(hours=1), now + timedelta(minutes=2))
check("the list of changes has its end", isinstance(changed["ids"], list) and changed["latestDateCovered"].endswith("+0000"))
check("a delete answers 204", sf.Account.delete(account) == 204)

for what, wrong, action in [
    ("an unknown field is refused", SalesforceMalformedRequest, lambda: sf.query("SELECT Nope FROM Account")),
    ("an unknown object is refused", SalesforceMalformedRequest, lambda: sf.query("SELECT Id FROM Nope")),
    ("a missing field is refused", SalesforceMalformedRequest, lambda: sf.Contact.create({"FirstName": "A"})),
    ("a deleted record is not found", SalesforceResourceNotFound, lambda: sf.Account.get(account)),
]:
    try:
        action()
        check(what, False)
    except wrong:
        check(what, True)

print(f"simple-salesforce: {checks} checks")
