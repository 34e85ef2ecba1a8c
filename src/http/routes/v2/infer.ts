/** Inference: images in a tensor, or one image as the body; scores, classes or features out. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Steps } from '../../../concurrency/turns.js'
import { FacetError } from '../../../errors.js'
import {
  type Answered,
  answerText,
  type BinaryAnswer,
  binaryAnswer,
  costOf,
  isBinary,
} from '../../../oip/answer.js'
import type { ModelFacts, ModelName } from '../../../oip/model.js'
import { DATA_KEY, type InferenceRequest, malformed, oneImage, readRequest } from '../../../oip/request.js'
import { imagesOf, type TensorImage } from '../../../oip/tensors.js'
import type { PredictResult } from '../../../predict/predictor.js'
import { decodeBase64 } from '../../bodies/base64.js'
import { inTurn, type MediaType, typeOf } from '../../bodies/body.js'
import type { BodyBudget } from '../../bodies/budget.js'
import { parseJsonBody } from '../../bodies/json.js'
import type { AppDeps } from '../../exchange/deps.js'
import { type AnswerLimit, answering, sendLong } from '../../exchange/long-answer.js'
import { predictFor } from '../../exchange/prediction.js'
import { admitModel, foundModel, type OfModel } from './found-model.js'

/** Gives the length of the JSON before binary data, both ways. */
const HEADER_LENGTH = 'inference-header-content-length'
const accepted: readonly MediaType[] = ['application/json', 'application/octet-stream', 'image/*']
/** Numbers and classes of an answer that is made at once. */
const MAX_COST_AT_ONCE = 2000
/** How often a request is run anew because its domain got another version while it ran. */
const MAX_RUNS = 3

export function inferRoutes(app: FastifyInstance, deps: AppDeps, bodies: BodyBudget): void {
  const { registry, config } = deps
  const route = {
    config: { scope: 'predict', accepts: accepted, limitedBy: '--max-body' } as const,
    bodyLimit: config.maxBody,
    onRequest: [admitModel(registry), bodies.admit],
  }

  const infer = async (request: FastifyRequest<OfModel>, reply: FastifyReply) => {
    const { name, facts } = foundModel(request, deps)
    const asked = await askedFor(request, name)
    const { version } = request.params
    const item = { domain: name.domain, ...(version !== undefined && { version }) }
    const items = (await inTurn(request, imagesIn(asked, facts))).map(({ form, bytes }) => ({
      ...item,
      image: bytes,
      ...(form === 'pixels' && { size: facts.input }),
    }))
    const needHead = asked.outputs.some((output) => output.name === 'scores')
    const { timeoutMs } = asked
    for (let run = 1; ; run++) {
      const { results, limit } = await predictFor(request, reply, { items, needHead, timeoutMs }, deps)
      if (isOneVersion(results)) {
        if (needHead) deps.predictionLog?.record(request.id, results)
        return sendAnswer(reply, { model: name, request: asked, results }, limit)
      }
      if (run === MAX_RUNS)
        throw new FacetError(
          'engine_restarting',
          `The version of '${name.domain}' keeps changing; try again.`,
        )
    }
  }

  for (const path of ['/models/:model/infer', '/models/:model/versions/:version/infer'])
    app.post<OfModel>(path, route, (request, reply) => bodies.hold(request, () => infer(request, reply)))
}

/** An answer names one version; another may have become active between two of its images. */
function isOneVersion(results: readonly PredictResult[]): boolean {
  return results.every(({ version }) => version === results[0]!.version)
}

/** What the body asks for, in any of its forms. */
async function askedFor(request: FastifyRequest, { output }: ModelName): Promise<InferenceRequest> {
  const body = request.body as Buffer
  const length = headerLength(request, body)
  if (length === 0 || (length === undefined && !isJson(request, body))) return oneImage(body, output)
  const json = await inTurn(request, parseJsonBody(body.subarray(0, length), DATA_KEY))
  return readRequest(json, length === undefined ? undefined : body.subarray(length), output)
}

/** @throws FacetError `malformed_request` for a length that is none, or more than the body has */
function headerLength({ headers }: FastifyRequest, body: Buffer): number | undefined {
  const text = headers[HEADER_LENGTH]
  if (text === undefined) return undefined
  const length = typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (length <= body.length) return length
  throw malformed(
    `Inference-Header-Content-Length must be the length of the JSON, of the body's ${body.length} bytes at most.`,
  )
}

/** No image begins as a JSON object does, and clients do not always say what they send. */
function isJson(request: FastifyRequest, body: Buffer): boolean {
  return typeOf(request) === 'application/json' || /^[ \t\r\n]*\{/.test(body.toString('latin1', 0, 64))
}

/** The images of a request as files or pixels, in steps. */
function* imagesIn({ input }: InferenceRequest, { input: size, maxBatch }: ModelFacts): Steps<TensorImage[]> {
  const images = yield* imagesOf(input, size, maxBatch)
  for (const [index, image] of images.entries())
    if (image.form === 'base64')
      images[index] = { form: 'file', bytes: yield* decodeBase64(Buffer.from(image.bytes), index) }
  return images
}

async function sendAnswer(reply: FastifyReply, answered: Answered, limit: AnswerLimit): Promise<unknown> {
  if (isBinary(answered)) return sendBinary(reply, await answering(binaryAnswer(answered), limit), limit)
  if (costOf(answered) > MAX_COST_AT_ONCE) return sendLong(reply, answerText(answered), limit)
  void reply.type('application/json; charset=utf-8')
  return [...answerText(answered)].join('')
}

async function sendBinary(reply: FastifyReply, answer: BinaryAnswer, limit: AnswerLimit): Promise<unknown> {
  const { json, size, data } = answer
  const pieces = function* () {
    yield json
    yield* data()
  }
  const sent = await sendLong(reply, pieces(), limit, 'application/octet-stream')
  // Set last: an error that comes before has another body.
  void reply.header(HEADER_LENGTH, String(json.length)).header('content-length', json.length + size)
  return sent
}
