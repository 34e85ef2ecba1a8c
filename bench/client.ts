/** One HTTP request over a kept connection: the client of the soak, the kills and the fairness run. */
import { type Agent, request } from 'node:http'

export interface Wire {
  method: string
  path: string
  type?: string
  body?: Uint8Array
}

export interface Reply {
  status: number
  text: string
  /** The `Server-Timing` header field. */
  timing: string
}

/** One duration of a reply's `Server-Timing`, ms. */
export function timingOf({ timing }: Reply, name: 'decode' | 'queue' | 'inference'): number {
  return Number(new RegExp(`${name};dur=([\\d.]+)`).exec(timing)![1])
}

/** Sends one request. @param signal when aborted, the client leaves */
export function send(agent: Agent, url: string, wire: Wire, signal?: AbortSignal): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { method, path, type, body } = wire
    const headers = { ...(type && { 'content-type': type }), 'content-length': body?.length ?? 0 }
    const sent = request(
      `${url}${path}`,
      { method, agent, headers, ...(signal && { signal }) },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode!,
            text: Buffer.concat(chunks).toString(),
            timing: String(response.headers['server-timing'] ?? ''),
          }),
        )
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}
