"""hubspot-api-client drives the HubSpot sandbox over its v3 and v4 paths."""

import sys

from hubspot import HubSpot
from hubspot.crm.associations.v4 import BatchInputPublicDefaultAssociationMultiPost, BatchInputPublicFetchAssociationsBatchRequest
from hubspot.crm.companies import (
    BatchInputSimplePublicObjectBatchInput,
    BatchInputSimplePublicObjectBatchInputForCreate,
    BatchInputSimplePublicObjectBatchInputUpsert,
    BatchInputSimplePublicObjectId,
    BatchReadInputSimplePublicObjectId,
    PublicObjectSearchRequest,
    SimplePublicObjectInput,
    SimplePublicObjectInputForCreate,
)
from hubspot.crm.companies.exceptions import ApiException

url, token = sys.argv[1], sys.argv[2]
checks = 0


def check(what, holds):
    global checks
    if not holds:
        raise SystemExit(f"hubspot-api-client (Python): {what}")
    checks += 1


client = HubSpot(access_token=token, host=url)
companies = client.crm.companies

made = companies.basic_api.create(SimplePublicObjectInputForCreate(properties={"name": "Referee", "numberofemployees": "7"}, associations=[]))
check("a create tells its id", made.id.isdigit() and made.properties["name"] == "Referee")
read = companies.basic_api.get_by_id(made.id, properties=["name", "numberofemployees", "phone"])
check("numbers are strings, empty is null", read.properties["numberofemployees"] == "7" and read.properties["phone"] is None)
changed = companies.basic_api.update(made.id, SimplePublicObjectInput(properties={"name": "Referee 2"}))
check("an update answers the new value", changed.properties["name"] == "Referee 2")

inputs = [{"properties": {"name": f"Batch {n}", "perennial_account_id": f"py-{n}"}, "associations": []} for n in range(100)]
batch = companies.batch_api.create(BatchInputSimplePublicObjectBatchInputForCreate(inputs=inputs))
check("100 records go in one batch", len(batch.results) == 100)
ids = [one.id for one in batch.results]
read = companies.batch_api.read(BatchReadInputSimplePublicObjectId(inputs=[{"id": one} for one in ids[:5] + ["1"]], properties=["name"], properties_with_history=[]))
check("a batch with a missing record answers 207 with the others", len(read.results) == 5 and read.num_errors == 1)
update = BatchInputSimplePublicObjectBatchInput(inputs=[{"id": one, "properties": {"city": "Bonn"}} for one in ids[:3]])
check("a batch updates", len(companies.batch_api.update(update).results) == 3)
upsert = BatchInputSimplePublicObjectBatchInputUpsert(
    inputs=[
        {"id": "py-0", "idProperty": "perennial_account_id", "properties": {"name": "Old"}},
        {"id": "py-new", "idProperty": "perennial_account_id", "properties": {"name": "New"}},
    ]
)
check("an upsert says what is new", [one.new for one in companies.batch_api.upsert(upsert).results] == [False, True])

seen, after = set(), None
while True:
    page = companies.basic_api.get_page(limit=40, after=after)
    seen |= {one.id for one in page.results}
    if page.paging is None:
        break
    after = page.paging.next.after
check("a list pages through everything", len(seen) >= 102)
search = PublicObjectSearchRequest(
    filter_groups=[{"filters": [{"propertyName": "city", "operator": "EQ", "value": "Bonn"}]}],
    limit=2, properties=["name"], sorts=["name"], after=0,
)
found = companies.search_api.do_search(search)
check("a search pages", found.total == 3 and len(found.results) == 2 and found.paging.next.after == "2")

person = client.crm.contacts.basic_api.create({"properties": {"email": "referee@example.com", "lastname": "Roe"}, "associations": []})
client.crm.associations.v4.basic_api.create_default("contacts", person.id, "companies", made.id)
pages = client.crm.associations.v4.basic_api.get_page("contacts", person.id, "companies")
check("an association is there", [str(one.to_object_id) for one in pages.results] == [made.id])
more = client.crm.associations.v4.batch_api.get_page("companies", "contacts", BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": made.id}]))
check("and seen from the other side", str(more.results[0].to[0].to_object_id) == person.id)

check("properties can be read", any(one.name == "domain" for one in client.crm.properties.core_api.get_all("companies").results))
check("owners can be read", len(client.crm.owners.owners_api.get_page().results) == 3)
check("pipelines can be read", client.crm.pipelines.pipelines_api.get_all("deals").results[0].id == "default")
check("schemas can be read", client.crm.schemas.core_api.get_all().results == [])

for what, status, action in [
    ("an unknown property", 400, lambda: companies.basic_api.create({"properties": {"nope": "1"}, "associations": []})),
    ("a taken unique value", 409, lambda: companies.basic_api.create({"properties": {"perennial_account_id": "py-1"}, "associations": []})),
    ("a missing record", 404, lambda: companies.basic_api.get_by_id("1")),
    ("a search beyond its end", 400, lambda: companies.search_api.do_search(PublicObjectSearchRequest(filter_groups=[], limit=100, after=10_000, properties=[], sorts=[]))),
]:
    try:
        action()
        check(what, False)
    except ApiException as refused:
        check(f"{what}: {refused.status}", refused.status == status)
companies.batch_api.archive(BatchInputSimplePublicObjectId(inputs=[{"id": one} for one in ids]))
check("an archive empties the list", len(companies.basic_api.get_page(limit=100).results) < 100)
print(f"hubspot-api-client (Python): {checks} checks")
