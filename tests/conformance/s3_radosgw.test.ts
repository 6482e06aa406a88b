/** `s3Datastore` on a gateway that others wrote: Ceph radosgw. */
import { startRadosgw } from "../../dev/servers/radosgw.ts";
import { s3Conformance } from "./s3.ts";

s3Conformance("radosgw", startRadosgw);
