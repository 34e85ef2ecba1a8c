/** The load generator. It runs as its own process, so that its CPU time is not counted as the server's. */
import sharp, { type Sharp } from 'sharp'
import { answer } from '../processes.js'
import { random } from '../random.js'
import { Connection } from './connection.js'

export type ImageKind = 'jpeg' | 'png64'

export interface LoadJob {
  url: string
  domains: string[]
  /** `random`: a random domain for each image; `given`: the domains in turn. */
  order: 'random' | 'given'
  kind: ImageKind
  images: number
  /** Connections, one request in flight on each. */
  atOnce: number
  /** As a form of one part, named by the domain; otherwise the body is the image. */
  form?: boolean
}

export interface LoadResult {
  /** Time of each answered request, in the order of the answers, ms. */
  latencies: number[]
  failed: number
  /** The answer or error of the first request that failed. */
  failure: string | null
  ms: number
}

const next = random(23)

/** An image that costs a codec as much as a photograph: smooth shapes with a little noise. */
async function makeImage(width: number, height: number): Promise<Sharp> {
  const side = 12
  const blocks = Uint8Array.from({ length: side * side * 3 }, () => next() * 256)
  const shapes = await sharp(blocks, { raw: { width: side, height: side, channels: 3 } })
    .resize(width, height, { fit: 'fill', kernel: 'cubic' })
    .raw()
    .toBuffer()
  for (let i = 0; i < shapes.length; i++)
    shapes[i] = Math.max(0, Math.min(255, shapes[i]! + 24 * (next() - 0.5)))
  return sharp(shapes, { raw: { width, height, channels: 3 } })
}

const side = () => 200 + Math.floor(next() * 201)
const images: Record<ImageKind, Buffer[]> = { jpeg: [], png64: [] }
for (let i = 0; i < 32; i++) {
  images.jpeg.push(await (await makeImage(side(), side())).jpeg({ quality: 85 }).toBuffer())
  images.png64.push(await (await makeImage(64, 64)).png().toBuffer())
}

const BOUNDARY = 'facet-bench'

/** A request for one image. */
function requestOf(domain: string, image: Buffer, form: boolean) {
  if (!form) return { path: `/v1/domains/${domain}/predict`, type: 'application/octet-stream', body: image }
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${domain}"; filename="image"\r\n\r\n`
  const body = Buffer.concat([Buffer.from(head), image, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)])
  return { path: '/v1/predict', type: `multipart/form-data; boundary=${BOUNDARY}`, body }
}

async function run({
  url,
  domains,
  order,
  kind,
  images: count,
  atOnce,
  form = false,
}: LoadJob): Promise<LoadResult> {
  const connections = await Promise.all(Array.from({ length: atOnce }, () => Connection.open(url)))
  const result: LoadResult = { latencies: [], failed: 0, failure: null, ms: 0 }
  const fail = (reason: string) => {
    result.failed++
    result.failure ??= reason
  }
  let turn = 0
  const client = async (connection: Connection): Promise<Connection> => {
    while (turn < count) {
      const mine = turn++
      const at = order === 'random' ? Math.floor(next() * domains.length) : mine % domains.length
      const image = images[kind][mine % images[kind].length]!
      const request = requestOf(domains[at]!, image, form)
      const start = performance.now()
      try {
        const { status, text } = await connection.send({ method: 'POST', ...request })
        if (status === 200) result.latencies.push(performance.now() - start)
        else fail(`HTTP ${status}: ${text.slice(0, 200)}`)
      } catch (error) {
        fail((error as Error).message)
        connection.close()
        connection = await Connection.open(url)
      }
    }
    return connection
  }
  const start = performance.now()
  const last = await Promise.all(connections.map(client))
  result.ms = performance.now() - start
  for (const connection of last) connection.close()
  return result
}

answer<({ type: 'hello' } | ({ type: 'load' } & LoadJob)) & { id: number }>(
  async (question) => (question.type === 'load' ? run(question) : null),
  async () => {},
)
