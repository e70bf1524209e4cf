// The official `openai` npm SDK, unmodified, against a gateway: prints one JSON line per case.
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.LICENSE_KEY, maxRetries: 0 });
const ask = (content, more = {}) =>
  client.chat.completions.create({ model: "gemini-3-pro", messages: [{ role: "user", content }], ...more });

const failure = async (work) => {
  try {
    await work();
    return { failed: false };
  } catch (error) {
    return {
      failed: true,
      kind: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? null,
      requestId: Boolean(error.requestID),
    };
  }
};

const cases = {
  whole: async () => {
    const answer = await ask("<echo>Grüße 😀 `x` \\* 你好</echo>");
    return { text: answer.choices[0].message.content, finish: answer.choices[0].finish_reason, model: answer.model };
  },
  streamed: async () => {
    const stream = await ask("<echo>Grüße 😀 `x` \\* 你好</echo>", { stream: true, stream_options: { include_usage: true } });
    let text = "";
    const roles = [];
    const finishes = [];
    let usage = null;
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      if (chunk.choices.length === 0) continue;
      const [choice] = chunk.choices;
      text += choice.delta.content ?? "";
      if (choice.delta.role) roles.push(choice.delta.role);
      if (choice.finish_reason) finishes.push(choice.finish_reason);
    }
    return { text, roles, finishes, usage: usage.total_tokens > 0 };
  },
  thoughts: async () => {
    const stream = await ask('<sim thoughts="hm, well"/><echo>yes</echo>', { stream: true });
    let thoughts = "";
    for await (const chunk of stream) thoughts += chunk.choices[0].delta.reasoning_content ?? "";
    return { thoughts };
  },
  helper: async () => {
    const runner = client.chat.completions.stream({
      model: "gemini-3-pro",
      messages: [{ role: "user", content: "<echo>through the helper</echo>" }],
    });
    return { text: await runner.finalContent() };
  },
  response: async () => {
    const answer = await client.responses.create({ model: "gemini-3-pro", input: "<echo>first</echo>" });
    const next = await client.responses.create({
      model: "gemini-3-pro",
      input: "<echo>second</echo>",
      previous_response_id: answer.id,
    });
    const found = await client.responses.retrieve(next.id);
    const inputs = [];
    for await (const item of client.responses.inputItems.list(next.id)) inputs.push(item.content[0].text);
    await client.responses.delete(next.id);
    return { texts: [answer.output_text, next.output_text, found.output_text], inputs };
  },
  responseStream: async () => {
    const tools = [{ type: "function", name: "ping", parameters: null, strict: null }];
    const stream = client.responses.stream({
      model: "gemini-3-pro",
      input: '<sim thoughts="hm"/><call name="ping">{}</call>',
      tools,
    });
    const numbers = [];
    for await (const event of stream) numbers.push(event.sequence_number);
    const { output } = await stream.finalResponse();
    return {
      gapless: numbers.every((number, index) => number === index),
      types: output.map((item) => item.type),
      call: output[1].arguments,
    };
  },
  files: async () => {
    const data = new TextEncoder().encode("Größe");
    const file = await client.files.create({
      file: await toFile(data, "a.txt"),
      purpose: "user_data",
      expires_after: { anchor: "created_at", seconds: 3600 },
    });
    const content = await (await client.files.content(file.id)).text();
    const answer = await client.responses.create({
      model: "gemini-3-pro",
      input: [{ role: "user", content: [{ type: "input_file", file_id: file.id }] }],
    });
    const listed = [];
    for await (const one of client.files.list()) listed.push(one.filename);
    const { deleted } = await client.files.delete(file.id);
    return { content, named: answer.output_text.includes("a.txt"), listed, deleted, kept: file.expires_at - file.created_at };
  },
  models: async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    const one = await client.models.retrieve("gemini-3-pro");
    return { listed: ids.includes("gemini-3-pro-canvas"), one: one.id };
  },
  aborted: async () => {
    const stream = await ask('<sim stall-after="2" frames="6"/><echo>some words and then nothing</echo>', { stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    return { left: true };
  },
  wrongKey: () => failure(() => new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong-key", maxRetries: 0 }).models.list()),
  unknownModel: () => failure(() => ask("x", { model: "no-such-model" })),
  badRequest: () => failure(() => ask("x", { modalities: ["audio"] })),
  inStream: () =>
    failure(async () => {
      const stream = await ask('<sim drop-after="3" frames="6"/><echo>words and words and words</echo>', { stream: true });
      for await (const _ of stream);
    }),
  quota: () => failure(() => ask('<sim error="1037"/>')),
};

for (const [name, run] of Object.entries(cases)) {
  console.log(JSON.stringify({ name, ...(await run()) }));
}
