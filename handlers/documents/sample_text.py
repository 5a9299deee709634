"""The words of the sample: a residential purchase agreement between people who do not exist.

Marks: ``#`` title, ``##`` heading, ``|`` a row of the summary table, ``~`` a signature line (party: name: date);
anything else is a paragraph. Blank lines part them.
"""

from __future__ import annotations

from typing import Final

# What a reader of the agreement must find, letter by letter; keys as `jobqueue.tasks.Fact` names its kinds.
FACTS: Final = {
    "buyer": "Ingrid M. Vossberry",
    "seller": "Orlando P. Brackenfield",
    "property_address": "1482 Larkspur Hollow Lane, Fernhollow, Oregon 97999",
    "purchase_price": "$425,000.00",
    "earnest_money": "$8,500.00",
    "agreement_date": "March 3, 2025",
    "inspection_deadline": "March 17, 2025",
    "financing_deadline": "April 4, 2025",
    "closing_date": "April 30, 2025",
    "governing_law": "State of Oregon",
}

AGREEMENT: Final = """
# RESIDENTIAL PURCHASE AGREEMENT

This Residential Purchase Agreement (the "Agreement") is made and entered into as of March 3, 2025 (the \
"Effective Date") by and between Ingrid M. Vossberry ("Buyer") and Orlando P. Brackenfield ("Seller").

| Buyer: | Ingrid M. Vossberry
| Seller: | Orlando P. Brackenfield
| Property Address: | 1482 Larkspur Hollow Lane, Fernhollow, Oregon 97999
| Purchase Price: | $425,000.00
| Earnest Money: | $8,500.00
| Effective Date: | March 3, 2025
| Inspection Deadline: | March 17, 2025
| Financing Deadline: | April 4, 2025
| Closing Date: | April 30, 2025

## 1. PROPERTY

Seller agrees to sell and Buyer agrees to buy the real property located at 1482 Larkspur Hollow Lane, \
Fernhollow, Oregon 97999, together with all buildings, improvements and fixtures on it (the "Property"). Legal \
Description: Lot 14, Block 3, Larkspur Hollow Subdivision, as recorded in Book 212, Page 87 of the plat records \
of Fernhollow County. The refrigerator, range, dishwasher and window coverings are included. The garden bench \
and the workshop shelving are excluded.

## 2. PURCHASE PRICE

The purchase price is Four Hundred Twenty-Five Thousand Dollars ($425,000.00) (the "Purchase Price"), payable as \
follows: (a) earnest money of $8,500.00; (b) proceeds of a new loan of $340,000.00; and (c) the balance of \
$76,500.00 in certified funds at closing.

## 3. EARNEST MONEY

Within three (3) business days after the Effective Date, Buyer shall deposit earnest money of $8,500.00 with \
Stillfinch Title Company (the "Escrow Agent"). The deposit shall be credited to Buyer at closing and is \
refundable only as this Agreement provides.

## 4. FINANCING CONTINGENCY

This Agreement is contingent upon Buyer obtaining a written commitment for a conventional loan of not less than \
$340,000.00, for a term of thirty (30) years, at an interest rate not exceeding 6.875% per year, on or before \
April 4, 2025 (the "Financing Deadline"). Buyer shall apply for the loan within five (5) days after the \
Effective Date and shall pursue it with diligence. If Buyer gives Seller written notice on or before the \
Financing Deadline that the commitment was not obtained, this Agreement shall terminate and the earnest money \
shall be returned to Buyer.

## 5. INSPECTION

Buyer may have the Property inspected, at Buyer's expense, by licensed inspectors on or before March 17, 2025 \
(the "Inspection Deadline"). If Buyer is not satisfied with the results, Buyer may terminate this Agreement by \
written notice delivered on or before the Inspection Deadline, and the earnest money shall be returned to Buyer. \
If no notice is delivered in time, this contingency is waived.

## 6. APPRAISAL

If a licensed appraiser values the Property at less than the Purchase Price, Buyer may, within three (3) days \
after receipt of the appraisal, terminate this Agreement and receive a refund of the earnest money.

## 7. PROPERTY CONDITION; AS-IS

Except as stated in the Seller's Property Disclosure Statement, Buyer accepts the Property in its present \
condition, AS IS, with all faults, and without any warranty, express or implied. Seller shall maintain the \
Property in its present condition, ordinary wear and tear excepted, until possession is delivered. The dwelling \
was built in 1996; no disclosure of lead-based paint is required.

## 8. TITLE

Within ten (10) days after the Effective Date, Seller shall furnish, at Seller's expense, a commitment for an \
owner's policy of title insurance in the amount of the Purchase Price. Seller shall convey good and marketable \
title by general warranty deed, free of all liens and encumbrances except recorded easements, restrictions of \
record and taxes not yet due. Buyer may object to title in writing within seven (7) days after receiving the \
commitment.

## 9. CLOSING AND COSTS

The closing shall take place on April 30, 2025 (the "Closing Date") at the office of the Escrow Agent. Real \
estate taxes and homeowners association dues shall be prorated as of the Closing Date. Seller shall pay the cost \
of the owner's title policy and one-half of the escrow fee. Buyer shall pay the lender's charges, the recording \
fees and one-half of the escrow fee.

## 10. POSSESSION

Seller shall deliver possession of the Property, vacant and broom clean, with all keys, at 5:00 p.m. on the \
Closing Date. Buyer may walk through the Property within forty-eight (48) hours before closing.

## 11. RISK OF LOSS

The risk of loss or damage by fire or other casualty remains with Seller until closing. If the Property is \
materially damaged before then, Buyer may terminate this Agreement and receive a refund of the earnest money.

## 12. DEFAULT AND REMEDIES

If Buyer defaults, Seller may terminate this Agreement and retain the earnest money as liquidated damages, which \
shall be Seller's sole remedy. If Seller defaults, Buyer may terminate this Agreement and receive a refund of \
the earnest money, or may seek specific performance. In any action to enforce this Agreement the prevailing \
party is entitled to reasonable attorney's fees.

## 13. MEDIATION

The parties shall submit any dispute arising out of this Agreement to mediation before commencing an action, and \
shall share its cost equally.

## 14. GOVERNING LAW

This Agreement shall be governed by and construed in accordance with the laws of the State of Oregon.

## 15. GENERAL PROVISIONS

Time is of the essence of this Agreement. This Agreement contains the entire agreement of the parties and may be \
amended only in a writing signed by both. It binds the heirs, successors and permitted assigns of the parties. \
Buyer may not assign it without Seller's written consent. It may be signed in counterparts, and notices may be \
given by electronic mail. The parties acknowledge that Marrowgate Realty represents Seller and that Thistlewick \
Homes represents Buyer.

IN WITNESS WHEREOF, the parties have signed this Agreement on the dates stated below.

~ Buyer: | Ingrid M. Vossberry | March 3, 2025
~ Seller: | Orlando P. Brackenfield | March 3, 2025
"""
