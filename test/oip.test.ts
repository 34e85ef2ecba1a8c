/**
 * The Open Inference Protocol against a running service: the conformance cases of test/oip/, and a client that makes the
 * calls of Triton's image_client.py.
 */
import { readFile } from 'node:fs/promises'
import sharp from 'sharp'
import t from 'tap'
import { aboutServer, check, readCases } from './oip/run.mjs'
import { bytesTensor, inference, readAnswer } from './oip-requests.js'
import { type Prediction, runService } from './service-rig.js'

const { url } = await runService(t)

t.test('every case of the conformance suite holds', async (t) => {
  const server = await aboutServer(url, 'eurosat')
  const cases = readCases()
  t.ok(cases.length > 40)
  for (const line of cases) {
    t.ok(line.extension === undefined || server.extensions.includes(line.extension), `${line.extension}`)
    t.strictSame(await check(server, line), [], line.says)
  }
})

t.test('a case that does not hold is told', async (t) => {
  const server = await aboutServer(url, 'eurosat')
  const wrong = [
    { status: 404, get: '/v2/health/live' },
    { status: '4xx', get: '/v2' },
    { status: 200, get: '/v2', json: { name: 'triton' } },
    { status: 200, get: '/v2', json: { extensions: '$string' } },
    {
      status: 200,
      post: '/v2/models/eurosat/infer',
      infer: {},
      outputs: [{ datatype: 'FP32', shape: [2, 10] }],
    },
    {
      status: 200,
      post: '/v2/models/eurosat/infer',
      infer: {},
      outputs: [{ datatype: 'BYTES', shape: [1, 10] }],
    },
  ]
  for (const line of wrong)
    t.not((await check(server, { says: '', ...line })).length, 0, JSON.stringify(line))
})

interface TensorMetadata {
  name: string
  datatype: string
  shape: number[]
}

async function get(path: string) {
  const answer = await fetch(url + path)
  t.equal(answer.status, 200, path)
  return (await answer.json()) as Record<'inputs' | 'outputs', TensorMetadata[]>
}

async function classesOf(model: string, request: { headers: Record<string, string>; payload: Buffer }) {
  const answer = await fetch(`${url}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: request.headers,
    body: request.payload as Buffer<ArrayBuffer>,
  })
  const bytes = Buffer.from(await answer.arrayBuffer())
  t.equal(answer.status, 200, bytes.toString().slice(0, 200))
  return readAnswer(bytes, answer.headers.get('inference-header-content-length') ?? undefined).outputs[0]!
}

const samples = [
  ['gtsrb', 'ahead only.png', 'ahead only'],
  ['eurosat', 'River.jpg', 'River'],
  ['flowers90', 'oxeye daisy.jpg', 'oxeye daisy'],
] as const

t.test("the calls of Triton's image_client.py classify the samples", async (t) => {
  for (const [model, file, label] of samples) {
    const metadata = await get(`/v2/models/${model}`)
    const config = await get(`/v2/models/${model}/config`)
    const [input, ...otherInputs] = metadata.inputs
    const [output, ...otherOutputs] = metadata.outputs
    t.same([otherInputs, otherOutputs, output!.datatype], [[], [], 'FP32'])
    t.match(config, { input: [{ format: 'FORMAT_NHWC' }], max_batch_size: Number })
    const [, height, width] = input!.shape
    const resize = { width: width!, height: height!, fit: 'fill', kernel: 'linear' } as const
    const pixels = await sharp(await readFile(`samples/${model}/${file}`))
      .removeAlpha()
      .toColourspace('srgb')
      .resize(resize)
      .raw()
      .toBuffer()
    const tensor = { datatype: input!.datatype, shape: [1, height!, width!, 3], binary: pixels }
    const parameters = { classification: 3, binary_data: true }
    const asked = inference(tensor, { outputs: [{ name: output!.name, parameters }] })
    const { datatype, shape, data } = await classesOf(model, asked)
    t.same([datatype, shape], ['BYTES', [1, 3]])
    t.equal(String(data[0]).split(':')[2], label)
  }
})

t.test('a file has the scores that /v1 gives it, as a tensor and as the body', async (t) => {
  for (const [model, file] of samples) {
    const image = (await readFile(`samples/${model}/${file}`)) as Buffer<ArrayBuffer>
    const plain = await fetch(`${url}/v1/domains/${model}/predict?top_k=3`, { method: 'POST', body: image })
    const { predictions } = ((await plain.json()) as { results: Prediction[] }).results[0]!
    const outputs = [{ name: 'scores', parameters: { classification: 3 } }]
    const { data } = await classesOf(
      model,
      inference({ datatype: 'BYTES', shape: [1], binary: bytesTensor(image) }, { outputs }),
    )
    const score = (text: string | number) => Number(String(text).split(':')[0])
    t.same(
      data.map((text) => Number(String(text).split(':')[1])),
      predictions.map(({ index }) => index),
    )
    for (const [place, text] of data.entries()) t.ok(Math.abs(score(text) - predictions[place]!.score) < 1e-4)
    const whole = await classesOf(model, { headers: { 'content-type': 'image/jpeg' }, payload: image })
    t.ok(Math.abs(Number(whole.data[predictions[0]!.index]) - predictions[0]!.score) < 1e-4)
  }
})
