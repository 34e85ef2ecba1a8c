/** What a failed file operation means to a client. Messages name no path of the server; the cause, which is
 * only logged, does. */
import { FacetError } from '../errors.js'
import { UnknownOutcome } from './durable.js'
import { errorCode } from './fs.js'

/** After this long a file descriptor may be free, seconds. */
const RETRY_SECONDS = 1

/** The error of a failed write; nothing has changed unless the outcome is unknown. */
export function writeFailure(error: unknown): FacetError {
  if (error instanceof FacetError) return error
  if (error instanceof UnknownOutcome) {
    return new FacetError(
      'store_failed',
      `The change may be lost: ${reason(error.cause)} while making it durable. ` +
        'The store refuses changes until the service is restarted.',
      { cause: error },
    )
  }
  const code = errorCode(error)
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new FacetError(
        'store_full',
        `The store's disk is full (${code}): free some space. Nothing has changed.`,
        {
          cause: error,
        },
      )
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return new FacetError(
        'store_failed',
        `The store cannot be written (${code}): its folder is read-only or belongs to another user. Nothing has changed.`,
        { cause: error },
      )
    case 'EMFILE':
    case 'ENFILE':
      return outOfDescriptors(error)
    default:
      return new FacetError(
        'store_failed',
        `The store could not be written (${reason(error)}). Nothing has changed.`,
        {
          cause: error,
        },
      )
  }
}

/** The message with which a store refuses all changes after one whose outcome is unknown. */
export function refusalAfter(error: UnknownOutcome): string {
  return (
    `The store refuses changes until the service is restarted: an earlier one failed with ${reason(error.cause)} ` +
    'while it was made durable. Check the disk.'
  )
}

/** The error of a read that failed for another reason than the blob itself. */
export function readFailure(error: unknown): FacetError {
  const code = errorCode(error)
  if (code === 'EMFILE' || code === 'ENFILE') return outOfDescriptors(error)
  return new FacetError('store_failed', `The store could not be read (${reason(error)}).`, { cause: error })
}

function outOfDescriptors(error: unknown): FacetError {
  return new FacetError(
    'store_failed',
    'The service is out of file descriptors: try again, or raise its limit (ulimit -n). Nothing has changed.',
    { cause: error, retryAfter: RETRY_SECONDS },
  )
}

/** Codes of files that are not what the store made, in words. */
const told: Record<string, string> = {
  ELOOP: 'a symbolic link, which is not followed',
  EFTYPE: 'not a regular file',
  EFBIG: 'far too large',
  ENOTDIR: 'a link or a file where a folder belongs',
}

/** The error's code; its message would name a path. */
export function reason(error: unknown): string {
  const code = errorCode(error)
  if (code !== undefined) return told[code] ?? code
  return error instanceof Error ? error.name : 'unknown error'
}
