"""Runs instructor, in each of its modes for OpenAI."""

import json
from collections.abc import Iterable

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel
from stepping import BASE_URL, ECHO, KEY, MODEL, PERSON, PERSON_TAG, PIXEL_URL, TEXT, equal, has, refused, run_steps


class Person(BaseModel):
    name: str
    ages: list[int]


CALL = f'<call name="Person">{json.dumps(PERSON)}</call>'
PROMPTS = {
    instructor.Mode.TOOLS: CALL,
    instructor.Mode.TOOLS_STRICT: CALL,
    instructor.Mode.JSON: PERSON_TAG,
    instructor.Mode.JSON_SCHEMA: PERSON_TAG,
    instructor.Mode.MD_JSON: f"<echo>Here: ```json\n{json.dumps(PERSON)}\n```</echo>",
}


def client(mode, key=KEY):
    return instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0), mode=mode)


def ask(mode, prompt, kind=Person, **fields):
    fields = {"model": MODEL, "max_retries": 0, **fields}
    return client(mode).chat.completions.create(
        response_model=kind, messages=[{"role": "user", "content": prompt}], **fields
    )


def step_chat():
    equal(ask(instructor.Mode.TOOLS, ECHO, None).choices[0].message.content, TEXT)


def step_structured():
    for mode, prompt in PROMPTS.items():
        equal(ask(mode, prompt).model_dump(), PERSON)


def step_stream():
    prompts = {**PROMPTS, instructor.Mode.TOOLS: CALL.replace("Person", "PartialPerson")}
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA):
        *_, last = ask(mode, prompts[mode], instructor.Partial[Person], stream=True)
        equal(last.model_dump(), PERSON)


def step_parallel_tools():
    found = ask(instructor.Mode.PARALLEL_TOOLS, CALL + CALL, Iterable[Person])
    equal([person.model_dump() for person in found], [PERSON] * 2)


def step_responses():
    found = client(instructor.Mode.RESPONSES_TOOLS).responses.create(
        input=CALL, response_model=Person, model=MODEL, max_retries=0
    )
    equal(found.model_dump(), PERSON)


def step_image():
    picture = instructor.Image.from_base64(PIXEL_URL)
    found = client(instructor.Mode.TOOLS).chat.completions.create(
        response_model=Person, messages=[{"role": "user", "content": [CALL, picture]}], model=MODEL, max_retries=0
    )
    equal(found.model_dump(), PERSON)


def step_errors():
    has(refused(InstructorRetryException, lambda: ask(instructor.Mode.TOOLS, CALL, model="gpt-9")), "gpt-9")


run_steps(globals())
