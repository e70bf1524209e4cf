// Runs Anthropic's SDK for JavaScript: prints one JSON line for each step. Arguments: the gateway's origin, a license key.
import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

import {
  CITIES, ECHO, MODEL, PERSON, PERSON_TAG, PIXEL, SCHEMA, TEXT, TWO_CALLS, rain, refused, runSteps,
} from "./stepping.mjs";

const [origin, apiKey] = process.argv.slice(2);
const open = (key = apiKey) => new Anthropic({ baseURL: `${origin}/gemini_official`, apiKey: key, maxRetries: 0 });
const client = open();
const tools = [
  {
    name: "get_weather",
    description: "Tell the weather.",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const body = (content, more = {}) => ({ model: MODEL, max_tokens: 1000, messages: [{ role: "user", content }], ...more });
const words = (answer) => answer.content.filter(({ type }) => type === "text").map(({ text }) => text).join("");

/** Answer the calls of a message, and return the words that follow. */
const answered = async (message) => {
  const calls = message.content.filter(({ type }) => type === "tool_use");
  assert.deepEqual(calls.map(({ input }) => input.city), CITIES);
  assert.equal(message.stop_reason, "tool_use");
  const results = calls.map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: rain(input.city) }));
  const messages = [
    { role: "user", content: TWO_CALLS },
    { role: "assistant", content: message.content },
    { role: "user", content: results },
  ];
  const text = words(await client.messages.create(body("", { messages, tools })));
  for (const city of CITIES) assert(text.includes(rain(city)), text);
};

await runSteps({
  chat: async () => {
    const answer = await client.messages.create(body(ECHO));
    assert.deepEqual([words(answer), answer.stop_reason], [TEXT, "end_turn"]);
    assert(answer.usage.output_tokens > 0);
  },
  stream: async () => {
    const stream = client.messages.stream(body(ECHO));
    let text = "";
    stream.on("text", (delta) => (text += delta));
    assert.equal(await stream.finalText(), TEXT);
    assert.equal(text, TEXT);
  },
  tool_loop: async () => answered(await client.messages.create(body(TWO_CALLS, { tools }))),
  streamed_tools: async () => answered(await client.messages.stream(body(TWO_CALLS, { tools })).finalMessage()),
  structured: async () => {
    const output_config = { format: { type: "json_schema", schema: SCHEMA } };
    assert.deepEqual(JSON.parse(words(await client.messages.create(body(PERSON_TAG, { output_config })))), PERSON);
  },
  image_in: async () => {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } };
    const text = words(await client.messages.create(body([{ type: "text", text: "What is it?" }, image])));
    assert(text.includes("image/png"), text);
  },
  models: async () => {
    const names = [];
    for await (const one of client.models.list()) names.push([one.type, one.id]);
    assert(names.some(([type, id]) => type === "model" && id === MODEL));
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
    assert((await client.messages.countTokens({ model: MODEL, messages: [{ role: "user", content: TEXT }] })).input_tokens > 0);
  },
  errors: async () => {
    await refused(Anthropic.AuthenticationError, 401, () => open("sk-wrong-0123456789").messages.create(body(ECHO)));
    await refused(Anthropic.NotFoundError, 404, () => client.messages.create(body(ECHO, { model: "gpt-9" })));
    await refused(Anthropic.BadRequestError, 400, () => client.messages.create(body(ECHO, { max_tokens: -1 })));
  },
});
