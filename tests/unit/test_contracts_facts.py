"""What the rules read from contracts: values, roles, and the forms in which contracts write them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from handlers.contracts.dates import dates_in
from handlers.contracts.money import amounts_in, number_from_words, written_before
from handlers.contracts.names import split_names
from handlers.contracts.reader import extract
from jobqueue.tasks import Extraction
from tests.unit.contract_samples import LEASE, PURCHASE, plain


def facts(*pages: str) -> dict[str, list[str]]:
    """Values by kind."""
    found: dict[str, list[str]] = {}
    for fact in Extraction.model_validate(extract(plain(*pages))).facts:
        found.setdefault(fact.kind, []).append(fact.value)
    return found


def test_a_residential_purchase_agreement_is_read_whole() -> None:
    assert facts(*PURCHASE) == {
        "seller": ["MARGARET A. HOLLOWAY", "PETER J. HOLLOWAY"],
        "buyer": ["Daniel Okafor"],
        "property_address": ["418 Juniper Hollow Road, Asheville, NC 28803"],
        "legal_description": ["Lot 14, Block 2, Juniper Hollow Subdivision"],
        "purchase_price": ["425000.00 USD"],
        "earnest_money": ["8500.00 USD"],
        "agreement_date": ["2025-03-03"],
        "closing_date": ["2025-04-30"],
        "inspection_deadline": ["2025-03-17"],
        "financing_deadline": ["2025-04-10"],
        "governing_law": ["North Carolina"],
    }


def test_a_commercial_lease_is_read_whole() -> None:
    assert facts(*LEASE) == {
        "landlord": ["Corvid Industrial Holdings, LLC"],
        "tenant": ["Saltmarsh Coffee Roasters, Inc."],
        "property_address": ["2217 Foundry Avenue, Suite 4, Biddeford, Maine 04005"],
        "rent": ["4250.00 USD per month"],
        "deposit": ["8500.00 USD"],
        "agreement_date": ["2023-06-01"],
        "commencement_date": ["2023-07-01"],
        "expiration_date": ["2028-06-30"],
        "term": ["five (5) years"],
        "governing_law": ["Maine"],
    }


def test_the_class_is_told_from_title_and_vocabulary() -> None:
    assert extract(plain(*PURCHASE))["document_class"] == "purchase_agreement"
    assert extract(plain(*LEASE))["document_class"] == "lease"
    assert extract(plain("Minutes of the gardening club. Tulips were discussed."))["document_class"] == "other"
    note = "PROMISSORY NOTE. The borrower promises to pay the lender the principal amount with interest rate of 5%."
    assert extract(plain(note))["document_class"] == "loan"


@pytest.mark.parametrize(
    ("opening", "sellers", "buyers"),
    [
        (
            """by and among OAK ONE, LLC, an Ohio limited liability company, and OAK TWO, LLC, an Ohio limited liability
            company (collectively, "Seller"), and Fern & Daughters, Inc., a Texas corporation (the "Purchaser").""",
            ["OAK ONE, LLC", "OAK TWO, LLC"],
            ["Fern & Daughters, Inc."],
        ),
        (
            """between Harbor Land Company, a Maine corporation ("Seller"), having an address at 9 Pier Road,
            Suite 2, Bath, Maine 04530 and REEF PARTNERS, L.P., a Delaware limited partnership ("Buyer").""",
            ["Harbor Land Company"],
            ["REEF PARTNERS, L.P."],
        ),
        (
            "between\nHARBOR\nLAND COMPANY,\na Maine corporation,\nas Seller,\nand\nJo Park, as Buyer\n",
            ["HARBOR LAND COMPANY"],
            ["Jo Park"],
        ),
        ('between Harbor Land LLC ("Seller") and Jo Park ("Buver").', ["Harbor Land LLC"], ["Jo Park"]),
        (
            "\nSeller: Harbor Land LLC, a Maine limited liability company\nBuyer: Jo Park and Al Park\nPrice: $9\n",
            ["Harbor Land LLC"],
            ["Jo Park", "Al Park"],
        ),
    ],
    ids=["several sellers", "an address after the definition", "broken over lines", "a misread role", "labels"],
)
def test_parties_are_read_from(opening: str, sellers: list[str], buyers: list[str]) -> None:
    found = facts(
        f"PURCHASE AND SALE AGREEMENT\nThis Agreement is made {opening} The purchase price is due at closing."
    )

    assert (found.get("seller"), found.get("buyer")) == (sellers, buyers)


def test_a_form_of_labels_is_read_line_by_line() -> None:
    found = facts(
        """REAL ESTATE PURCHASE CONTRACT
        Contract Date: 02/14/2025
        BUYER(S): Renata Volkov and Samuel T. Greer
        Buyer's Address: 55 Lindon Way, Tulsa, OK 74104
        SELLER(S): Estate of Hugh Pemberton
        Property Address: 1309 W. Sycamore Blvd., Apt 3B, Tulsa, Oklahoma 74127
        Legal Description: Lot 7, Block 3, Sycamore Heights Addition
        Purchase Price: $312,500.00
        Earnest Money Deposit: $5,000.00
        Closing Date: on or before 03/28/2025
        Inspection Period: 10 days after the Effective Date of this contract
        Financing Contingency Deadline: March 15, 2025
        """
    )

    assert found == {
        "buyer": ["Renata Volkov", "Samuel T. Greer"],
        "seller": ["Estate of Hugh Pemberton"],
        "property_address": ["1309 W. Sycamore Blvd., Apt 3B, Tulsa, Oklahoma 74127"],
        "legal_description": ["Lot 7, Block 3, Sycamore Heights Addition"],
        "purchase_price": ["312500.00 USD"],
        "earnest_money": ["5000.00 USD"],
        "agreement_date": ["2025-02-14"],
        "closing_date": ["2025-03-28"],
        "inspection_deadline": ["10 days after the Effective Date"],
        "financing_deadline": ["2025-03-15"],
    }


def test_the_people_of_a_list_are_one_party_each() -> None:
    found = facts(
        """RESIDENTIAL LEASE AGREEMENT made on January 15, 2025, by and between Tidewater Homes LLC ("Landlord") and
        Amy Cho, Dev Patel, and Luis Ortega (collectively "Tenant"). Rent: $1,950 per month due on the 1st.
        Security deposit: $900."""
    )

    assert found["tenant"] == ["Amy Cho", "Dev Patel", "Luis Ortega"]
    assert found["rent"] == ["1950.00 USD per month"]
    assert found["deposit"] == ["900.00 USD"]


def test_blank_form_fields_name_nobody() -> None:
    found = facts("PURCHASE AGREEMENT\nBuyer: ____________\nSeller: ____________\nPurchase price: $________\n")

    assert not {"buyer", "seller", "purchase_price"} & found.keys()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("may 2, 2014", date(2014, 5, 2)),
        ("the 2nd day of may, 2014", date(2014, 5, 2)),
        ("the 1s t day of june 2014", date(2014, 6, 1)),
        ("2 may 2014", date(2014, 5, 2)),
        ("sept. 9, 2014", date(2014, 9, 9)),
        ("05/02/14", date(2014, 5, 2)),
        ("2014-05-02", date(2014, 5, 2)),
        ("the 31st day of september, 2014", date(2014, 9, 30)),
    ],
)
def test_a_date_is_read_in_each_of_its_forms(text: str, value: date) -> None:
    assert [found.value for found in dates_in(text)] == [value]


@pytest.mark.parametrize("text", ["february 30, 2014", "13/45/2014", "section 4.10.2014", "12-34-56-78", "0/0/2000"])
def test_what_only_looks_like_a_date_is_none(text: str) -> None:
    assert dates_in(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$425,000", "425000"),
        ("$ 1,350.00", "1350"),
        ("$1.350 a month", "1350"),
        ("$2.5 million", "2500000"),
        ("(443,676) dollars", "443676"),
    ],
)
def test_an_amount_is_read_in_each_of_its_forms(text: str, value: str) -> None:
    assert [amount.value for amount in amounts_in(text)] == [Decimal(value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("four hundred ten thousand, five hundred fourteen dollars ($410,514)", 410_514),
        ("one thousand three hundred fifty and no/100 dollars ($1,350.00)", 1_350),
        ("twenty-five thousand ($25,000)", 25_000),
    ],
)
def test_words_before_figures_are_read(text: str, value: int) -> None:
    written = written_before(text, amounts_in(text)[0])

    assert written is not None
    assert written.value == value


def test_ordinary_words_are_no_number() -> None:
    assert number_from_words("the parties") is None
    assert number_from_words("and") is None
    assert written_before("the sum of ($500)", amounts_in("the sum of ($500)")[0]) is None


def test_a_company_with_and_in_its_name_is_one_name() -> None:
    side = "Smith and Sons, Inc., a Nevada corporation"

    assert [side[start:end] for start, end in split_names(side)] == ["Smith and Sons, Inc."]


def test_a_deadline_counted_in_days_stays_in_the_contracts_words() -> None:
    found = facts(
        "PURCHASE AGREEMENT between A. Lee (Seller) and B. Roe (Buyer). The purchase price is $90,000. The inspection "
        "period ends ten (10) days after the Effective Date of this agreement."
    )

    assert found["inspection_deadline"] == ["ten (10) days after the Effective Date"]


def test_the_governing_law_is_no_state_named_in_passing() -> None:
    found = facts(
        "LEASE between Elm LLC, a Delaware limited liability company (Landlord) and Ann Lee (Tenant). Insurance is as "
        "the laws of the State of Ohio require. This lease shall be construed under the laws of the State of Michigan."
    )

    assert found["governing_law"] == ["Michigan"]


def test_rents_carry_their_period() -> None:
    found = facts(
        "LEASE between Elm LLC (Landlord) and Ann Lee (Tenant). Minimum Rent shall be $60,000.00 per year, payable in "
        "equal installments of $5,000.00 per month. A late fee of $250.00 per month is due on arrears."
    )

    assert found["rent"] == ["5000.00 USD per month", "60000.00 USD per year"]
