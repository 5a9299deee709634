"""Contracts written for the tests, and how they become documents."""

from __future__ import annotations

from typing import Any

from jobqueue.tasks import DocumentText, PageSource, PageText

PURCHASE = (
    """RESIDENTIAL PURCHASE AGREEMENT

This Residential Purchase Agreement (the "Agreement") is made and entered into as of the 3rd day of March, 2025
(the "Effective Date"), by and between MARGARET A. HOLLOWAY and PETER J. HOLLOWAY, husband and wife ("Seller"), and
Daniel Okafor, an unmarried man ("Buyer").

1. PROPERTY. Seller agrees to sell and Buyer agrees to buy the real property commonly known as 418 Juniper Hollow Road,
Asheville, NC 28803 (the "Property"), legally described as: Lot 14, Block 2, Juniper Hollow Subdivision.

2. PURCHASE PRICE. The purchase price shall be Four Hundred Twenty-Five Thousand Dollars ($425,000.00), payable in
cash at closing.

3. EARNEST MONEY. Within three days Buyer shall deposit earnest money of $8,500.00 with Blue Ridge Title Company.

4. FINANCING CONTINGENCY. This Agreement is contingent upon Buyer obtaining a mortgage loan. The financing deadline is
April 10, 2025.

5. INSPECTION. Buyer may inspect the Property. The inspection period ends on March 17, 2025. If Buyer is not satis-
fied with the condition of the Property, Buyer may end this Agreement.
""",
    """6. APPRAISAL. The Property must appraise at no less than the purchase price.
7. TITLE. Seller shall convey marketable title by general warranty deed; Buyer may obtain title insurance.
8. CLOSING. The closing date shall be April 30, 2025. Closing costs are prorated as is usual.
9. POSSESSION. Possession passes to Buyer at closing.
10. RISK OF LOSS. The risk of loss by fire or other casualty stays with Seller until closing.
11. DISCLOSURES. Seller has delivered the property disclosure statement and the lead-based paint pamphlet.
12. HOMEOWNERS' ASSOCIATION. The Property is part of a homeowners' association.
13. DEFAULT AND REMEDIES. On a default by Buyer, Seller may keep the earnest money as liquidated damages.
14. ASSIGNMENT. Buyer may not assign this Agreement.
15. NOTICES. All notices shall be in writing.
16. GOVERNING LAW. This Agreement shall be governed by the laws of the State of North Carolina.
17. ENTIRE AGREEMENT. This is the entire agreement of the parties. Time is of the essence.

IN WITNESS WHEREOF, the parties have signed.
Seller: ______________________ Date: March 3, 2025
Buyer: ______________________ Date: March 3, 2025
""",
)

LEASE = (
    """COMMERCIAL LEASE

THIS LEASE is entered into this 1st day of June, 2023, between Corvid Industrial Holdings, LLC, a Delaware limited
liability company, having an address at 90 Harbor Street, Portland, Maine 04101 ("Landlord"), and Saltmarsh Coffee
Roasters, Inc., a Maine corporation ("Tenant").

1. PREMISES. Landlord leases to Tenant the premises located at 2217 Foundry Avenue, Suite 4, Biddeford, Maine 04005 (the
"Premises").
2. TERM. The term of this Lease shall be for five (5) years, commencing on July 1, 2023 and ending on June 30, 2028.
The term shall automatically renew for one year unless either party gives notice ninety days before it ends.
3. RENT. Tenant shall pay base rent of $4,250.00 per month, in advance.
4. SECURITY DEPOSIT. Upon signing Tenant shall pay a security deposit of $8,500.00.
5. USE. The Premises shall be used for roasting and selling coffee.
""",
    """6. MAINTENANCE. Tenant shall make all repairs to the interior; Tenant takes the Premises "as-is".
7. ASSIGNMENT. Tenant shall not assign or sublet without consent.
8. INSURANCE. Tenant shall carry liability insurance of $2,000,000.00 per occurrence.
9. INDEMNITY. Tenant shall indemnify and hold harmless Landlord.
10. DEFAULT. In an event of default Landlord may terminate this Lease.
11. NOTICES. All notices shall be in writing. 12. This is the entire agreement.
13. The laws of the State of Maine shall govern this Lease.
IN WITNESS WHEREOF, signed on June 1, 2023.
""",
)

DOUBTFUL = (
    """PURCHASE AND SALE AGREEMENT
This Agreement is dated May 5, 2025 between Ruth Alvarez ("Seller") and Tomas Lind ("Buyer") for the property known as
12 Quarry Lane, Barre, VT 05641.
The purchase price is Three Hundred Thousand Dollars ($350,000).
Buyer pays earnest money of $400,000, which is non-refundable. Buyer waives the inspection contingency. The closing date
is April 1, 2025. The financing deadline is June 1, 2025. The monthly fee of the association is ________ dollars.
Sold as is.
""",
)


def document(*pages: str) -> DocumentText:
    """Pages of text as OCR hands them on."""
    return DocumentText(
        pages=[
            PageText(number=number, text=text, source=PageSource.TEXT, confidence=1.0)
            for number, text in enumerate(pages, start=1)
        ]
    )


def plain(*pages: str) -> dict[str, Any]:
    """The same as plain data, as it crosses to the sandbox."""
    return document(*pages).model_dump(mode="json")
